"""Where clips come from and how they are read."""

from dataclasses import dataclass

from data_shards.storage.place import check_url, without_slash


@dataclass(frozen=True)
class DataConfig:
    """Where clips come from and how they are read. Only `streams` and `block` change the order.

    Args:
        url: of the data set.
        workers: loader processes of each rank; 0 reads in the training process.
        streams: places of the set that are read at the same time; None = the least multiple of the batch size from 64
            on. With any other number, ranks share streams, and each of them reads the whole of what they share.
        block: neighbouring samples that are shuffled among themselves; about streams * block samples mix, and all
            ranks together hold about as many.
        ahead: steps whose bytes are fetched ahead, and held.
        threads: fetches at the same time, of each process.
        extent_bytes: of one fetch, about.
        deadline: seconds for which a store that does not answer is asked again.
        damage: what to do about a damaged sample: "error", or "replace" by the next whole one of its shard (counted).
        start_method: of loader processes. "fork" starts faster, but is unsafe beside the threads of Ray and CUDA.
    """

    url: str
    workers: int = 0
    streams: int | None = None
    block: int = 16
    ahead: int = 8
    threads: int = 4
    extent_bytes: int = 1 << 20
    deadline: float = 600.0
    damage: str = "error"
    start_method: str = "forkserver"

    def __post_init__(self) -> None:
        check_url(self.url)
        object.__setattr__(self, "url", without_slash(self.url))  # one place, one name
        if self.workers < 0:
            raise ValueError(f"workers {self.workers} must be at least 0")
        for name in ("streams", "block", "ahead", "threads", "extent_bytes"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} {value} must be at least 1")
        if self.deadline < 0:
            raise ValueError(f"deadline {self.deadline} must be at least 0 seconds")
        if self.damage not in ("error", "replace"):
            raise ValueError(f"damage {self.damage!r} must be error or replace")
        if self.start_method not in ("fork", "forkserver", "spawn"):
            raise ValueError(f"start_method {self.start_method!r} must be fork, forkserver or spawn")


def default_streams(batch: int) -> int:
    """The least multiple of the batch size from 64 on: a rank then has streams of its own."""
    return -(-64 // batch) * batch
