"""Where clips come from and how they are read."""

from dataclasses import dataclass

from data_shards.mistake import UserError
from data_shards.storage.place import canonical

# Of whole numbers, at most: a checkpoint's config is read again, and may be a stranger's.
_MOST = {
    "workers": 1024,
    "streams": 1 << 32,
    "block": 1 << 32,
    "ahead": 4096,
    "threads": 1024,
    "extent_bytes": 1 << 30,
}


@dataclass(frozen=True)
class DataConfig:
    """Where clips come from and how they are read. Only `streams` and `block` change the order."""

    url: str
    """Of the data set: a folder or s3://bucket/prefix."""
    workers: int = 0
    """Loader processes of each rank; 0 reads in the training process."""
    streams: int | None = None
    """Places of the set that are read at the same time; null = the least multiple of the batch size from 64 on.

    With any other number, ranks share streams, and each of them reads the whole of what they share.
    """
    block: int = 16
    """Neighbouring samples that are shuffled among themselves.

    About streams * block samples mix, and all ranks together hold about as many.
    """
    ahead: int = 8
    """Steps whose bytes are fetched ahead, and held."""
    threads: int = 4
    """Fetches at the same time, of each process."""
    extent_bytes: int = 1 << 20
    """Bytes of one fetch, about."""
    deadline: float = 600.0
    """Seconds for which a store that does not answer is asked again."""
    damage: str = "error"
    """What to do about a damaged sample: error, or replace by the next whole one of its shard (counted)."""
    start_method: str = "forkserver"
    """Of loader processes: forkserver, spawn or fork.

    fork starts faster, but is unsafe beside the threads of Ray and CUDA.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", canonical(self.url))  # one place, one name
        if self.workers < 0:
            raise UserError(f"workers {self.workers} must be at least 0")
        for name in ("streams", "block", "ahead", "threads", "extent_bytes"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} {value} must be at least 1")
        for name, most in _MOST.items():
            if (value := getattr(self, name)) is not None and value > most:
                raise UserError(f"{name} {value} must be at most {most}")
        if self.deadline < 0:
            raise UserError(f"deadline {self.deadline} must be at least 0 seconds")
        if self.damage not in ("error", "replace"):
            raise UserError(f"damage {self.damage!r} must be error or replace")
        if self.start_method not in ("fork", "forkserver", "spawn"):
            raise UserError(f"start_method {self.start_method!r} must be fork, forkserver or spawn")


def default_streams(batch: int) -> int:
    """The least multiple of the batch size from 64 on: a rank then has streams of its own."""
    return -(-64 // batch) * batch
