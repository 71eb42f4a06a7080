"""Who am I among the ranks: environment, device, seeds and the few collectives that the loop needs."""

import hashlib
import os
import socket
from dataclasses import dataclass

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

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world > 1:
            dist.barrier()


def leave() -> None:
    """Leave the process group, if this process has joined one: for the end of a command.

    Where the interpreter ends with it, its threads now and then abort the process after a run that went well.
    """
    if dist.is_initialized():
        dist.destroy_process_group()


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
