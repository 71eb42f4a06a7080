"""The client of an S3 server, one for a process and its AWS_* variables."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import s3fs

# Checksums that newer clients add by default: servers reject them (411 on https), or send them back with partial
# bodies that then seem damaged. Our own hashes cover the data.
_CONFIG = {
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
    "retries": {"mode": "standard", "total_max_attempts": 1},
    "connect_timeout": 5,
    "read_timeout": 20,
    "max_pool_connections": 32,
}


@dataclass
class Client:
    """What makes requests.

    Attributes:
        fs: s3fs, and with it the client and the thread that runs it.
        answered: whether a request was ever answered as S3 servers do.
    """

    fs: Any
    answered: bool = False


@lru_cache(maxsize=4)
def client(process: int, environment: tuple[tuple[str, str], ...]) -> Client:
    """The client of this process and these AWS_* variables: it takes 0.3 s to make and does not survive a fork."""
    # Without listings and instances of the past; the keys are read from the environment by botocore.
    return Client(
        s3fs.S3FileSystem(
            config_kwargs=_CONFIG, cache_regions=False, skip_instance_cache=True, use_listings_cache=False
        )
    )
