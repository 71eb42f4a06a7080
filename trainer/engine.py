"""The one place that knows DeepSpeed: its config is derived here, its traps are disarmed here.

It is loaded with the first process group, for that takes a second: a run that is refused before has not waited for it.
"""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.interface import ModelOutput, Video, VideoModel
from trainer.checkpoints.state_files import no_code
from trainer.config import RunConfig
from trainer.optim import build_optimizer
from trainer.process_group import ProcessGroup, environment

TAG = "state"  # the name DeepSpeed gives the folder of one checkpoint


def state_types() -> tuple[type, ...]:
    """What DeepSpeed's files hold at ZeRO 1 to 3 besides tensors and plain values.

    The stage, a scale of the loss that is 1 without fp16, and where each weight lies in the flat memory. None of them
    does anything when it is made.
    """
    _say_accelerator()
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return ZeroStageEnum, LossScaler, fragment_address


def start_processes() -> ProcessGroup:
    """Join the process group named by the environment (torchrun, Ray), or be a group of one."""
    _say_accelerator()
    import deepspeed.ops
    from deepspeed.accelerator import get_accelerator

    rank, world, local_rank = environment()
    cuda = torch.cuda.is_available()
    # On CPU every init would compile deepspeed_shm_comm, an all-reduce for inference only: a minute, and a
    # process killed during it leaves a lock on which all later starts wait for ever.
    if get_accelerator().device_name() == "cpu":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    deepspeed.init_distributed(dist_backend="nccl" if cuda else "gloo", verbose=False)
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    return ProcessGroup(rank, world, local_rank, device)


def _say_accelerator() -> None:
    """Before DeepSpeed looks for itself: where it finds no accelerator it prints a warning in every process."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")


def deepspeed_config(
    config: RunConfig, world: int, universal: bool = False, *, weights: int = 10**9
) -> dict[str, Any]:
    """DeepSpeed's JSON of a run.

    Args:
        config: the run.
        world: number of ranks.
        universal: load a Universal Checkpoint (written by another number of ranks).
        weights: how many numbers the model has.
    """
    micro = config.batch.micro_of(world)
    return {
        "train_batch_size": config.batch.size,
        "train_micro_batch_size_per_gpu": micro,
        "gradient_accumulation_steps": config.batch.size // (micro * world),
        "gradient_clipping": config.optim.clip_norm,  # left out, it would be 1.0
        "steps_per_print": 10**9,
        "zero_allow_untested_optimizer": True,  # ours is tested by tests/trainer/test_optim.py
        # At each release stage 3 looks for the weight's next use among all calls that follow, unless told how far: of a
        # recurrence's thousands of calls that is quadratic. Within as many numbers as the model has, each comes again.
        "zero_optimization": {"stage": config.engine.zero_stage, "stage3_max_reuse_distance": weights},
        "checkpoint": {"load_universal": universal},
        # DeepSpeed opens the autocast: one that is open around it, it turns off on a GPU. No module is named whose
        # gradients would be summed over ranks in bf16.
        "torch_autocast": {
            "enabled": config.engine.precision == "bf16",
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],
        },
    }


class Engine:
    """A model, its optimiser and the ranks: forward, backward, update, save, load."""

    def __init__(
        self, model: VideoModel, config: RunConfig, group: ProcessGroup, universal: bool = False
    ) -> None:
        import deepspeed

        self.config, self.group = config, group
        optimizer = build_optimizer(config.optim, model.parameters())
        self._settings = dict(optimizer.defaults)
        weights = sum(p.numel() for p in model.parameters())
        with _quiet():
            self._engine, self._optimizer, *_ = deepspeed.initialize(
                model=model.to(group.device),
                optimizer=optimizer,
                config=deepspeed_config(config, group.world, universal, weights=weights),
            )

    @property
    def model(self) -> VideoModel:
        """The module itself; calling it runs ZeRO-3's gathering hooks."""
        module: VideoModel = self._engine.module
        return module

    def forward(self, video: Video, step: int) -> ModelOutput:
        """The model's output for one micro-batch, in the precision of the config."""
        output: ModelOutput = self._engine(video, step)
        return output

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one micro-batch; the last of a step also sums them over ranks."""
        self._engine.backward(loss)

    def update(self, lr: float, last: bool) -> float:
        """One micro-batch is done; after the `last` of a step, clip and move the weights at rate `lr`.

        Returns:
            After the last, the norm of the whole gradient before clipping; 0 before.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        norm = 0.0
        if last and not self.config.engine.zero_stage:
            # Stage 0 keeps plain gradients and reports no norm of its own.
            grads = [p.grad for p in self.model.parameters() if p.grad is not None]
            norm = float(torch.nn.utils.get_total_norm(grads))
        self._engine.step()
        if last and self.config.engine.zero_stage:
            norm = float(self._engine.get_global_grad_norm() or 0.0)
        return norm

    def weights(self) -> dict[str, Tensor]:
        """All weights in fp32 on CPU. A collective at stage 3."""
        gather: Any = contextlib.nullcontext()
        if self.config.engine.zero_stage == 3:
            import deepspeed

            gather = deepspeed.zero.GatheredParameters(list(self.model.parameters()))
        with gather:
            return {name: v.detach().float().cpu().clone() for name, v in self.model.state_dict().items()}

    def average_statistics(self) -> None:
        """Give all ranks the mean of their buffers of floating numbers: the running statistics of normalisation.

        DeepSpeed shares weights, but not buffers, and each rank's follow its own clips only; its checkpoints hold
        rank 0's (at stage 3 every rank's), and so do `weights`. Running means are linear, so the mean over ranks is
        what one would have that follows the mean over ranks at every step. Done before each save and evaluation, so
        that all ranks save, score and resume with the same. The statistics do not enter the gradients of training.
        A collective, unless the model has no such buffer.
        """
        buffers = [b for b in self.model.buffers() if b.is_floating_point()]
        if self.group.world == 1 or not buffers:
            return
        flat = torch.cat([b.detach().double().flatten() for b in buffers]).cpu()
        mean = self.group.total(flat) / self.group.world
        for buffer, values in zip(buffers, torch.split(mean, [b.numel() for b in buffers]), strict=True):
            buffer.copy_(values.view_as(buffer))

    def for_scoring(self) -> VideoModel:
        """The model with the mean of all ranks' statistics, to be called by each rank as often as it likes.

        At stage 3 a forward pass is a collective, and ranks may have different numbers of batches: there, a copy.
        """
        self.average_statistics()
        if self.config.engine.zero_stage != 3:
            return self.model
        copy = self.config.model.build().to(self.group.device)
        copy.load_state_dict(self.weights())
        return copy

    def checksum(self) -> Tensor:
        """Two float64 sums over the weights this rank holds whole; equal on all ranks unless they diverged.

        Without buffers: running statistics do differ, until `average_statistics`.
        """
        values = [p.detach().double().flatten() for p in self.model.parameters() if p.numel()]
        flat = torch.cat(values).cpu() if values else torch.zeros(1, dtype=torch.float64)
        ramp = torch.linspace(0.5, 1.5, flat.numel(), dtype=torch.float64)
        return torch.stack([flat.sum(), (flat * ramp).sum()])

    def save(self, folder: Path) -> None:
        """Write this rank's part of the state into `folder` (its own). A collective."""
        self.average_statistics()
        with _quiet():
            self._engine.save_checkpoint(str(folder), tag=TAG)

    def load(self, folder: Path, tag: str = TAG) -> None:
        """Restore weights and optimiser from `folder`, which holds the parts of all ranks. A collective.

        The optimiser's settings stay those of the config: only its state is restored.

        Raises:
            RuntimeError: there is no state in `folder`, or it does not fit.
        """
        with _quiet(), no_code(*state_types()):
            path, _ = self._engine.load_checkpoint(str(folder), tag=tag)
        if path is None:
            raise RuntimeError(f"DeepSpeed found no state in {folder}")
        for group in self._optimizer.param_groups:  # DeepSpeed has put the saved settings there
            group.update(self._settings)

    def close(self) -> None:
        """Free what DeepSpeed holds."""
        self._engine.destroy()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """DeepSpeed logs dozens of lines a start at INFO and warns about its own deprecations."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


def private_extensions() -> None:
    """Give this process its own folder of compiled torch extensions unless one is set.

    The default is shared by every environment of a user, so another project's killed build can hang ours.
    """
    os.environ.setdefault(
        "TORCH_EXTENSIONS_DIR", os.path.join(tempfile.gettempdir(), f"commonfate-ext-{os.getuid()}")
    )
