"""Who am I among the ranks: environment, device, seeds and the few collectives that the loop needs."""

import atexit
import hashlib
import os
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

import torch
import torch.distributed as dist
from jaxtyping import Float64
from torch import Tensor


@dataclass(frozen=True)
class ProcessGroup:
    """This rank among `world` ranks; `local_rank` counts those of one machine."""

    rank: int
    world: int
    local_rank: int
    device: torch.device

    def total(self, values: Float64[Tensor, "n"]) -> Float64[Tensor, "n"]:
        """The sum over ranks."""
        if self.world == 1:
            return values
        moved = values.to(self.device)
        dist.all_reduce(moved)
        return moved.cpu()

    def gather(self, values: Float64[Tensor, "n"]) -> Float64[Tensor, "world n"]:
        """One row per rank."""
        if self.world == 1:
            return values[None]
        moved = values.to(self.device)
        rows = [torch.empty_like(moved) for _ in range(self.world)]
        dist.all_gather(rows, moved)
        return torch.stack(rows).cpu()

    def same(self, text: str, source: int = 0) -> str:
        """The `text` of rank `source`, on every rank."""
        if self.world == 1:
            return text
        box = [text]
        dist.broadcast_object_list(box, src=source, device=self.device)
        return box[0]

    def share(self, values: Iterable[Tensor]) -> None:
        """Give these tensors, on the device, the content that rank 0's have."""
        if self.world > 1:
            for value in values:
                dist.broadcast(value, src=0)

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world > 1:
            dist.barrier()


def leave(code: int) -> NoReturn:
    """End this process with exit `code`, without the interpreter's own end where it has joined a process group.

    A thread of gloo may still have to free the tensors of the last collective, and for that asks for the interpreter.
    One that has begun to end makes it abort instead: exit code -6, now and then, after a run that went well. Leaving
    the group does not wait for these threads, for DeepSpeed and torch keep references to it.
    """
    if not dist.is_initialized():
        sys.exit(code)
    if code != 1:  # after a failure others may be in the middle of a collective, and this could wait for them
        dist.destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def environment() -> tuple[int, int, int]:
    """(rank, world, local rank) from torchrun's or Ray's variables; sets those of a lone process.

    DeepSpeed looks for an MPI launcher unless all five variables are set, even with one rank.
    """
    if "RANK" not in os.environ:
        os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            os.environ["MASTER_PORT"] = str(free.getsockname()[1])
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0"))


def seed_draws(*key: int) -> None:
    """Seed torch's generators from integers such as (seed, step, micro-batch).

    Every draw of a step then depends on these alone: not on the number of ranks, nor on how often the run was
    interrupted. The hash keeps neighbouring keys unrelated.
    """
    text = ",".join(map(str, key)).encode()
    torch.manual_seed(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1)
