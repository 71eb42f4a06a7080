"""Places: which URLs name a folder or a bucket, and the store behind one."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from data_shards.storage.folder import FolderStore
from data_shards.storage.store import Store


def check_url(url: str) -> tuple[str, str]:
    """(bucket, prefix) of s3://bucket/prefix, or ("", path) of a plain path or file:///path.

    Raises:
        ValueError: any other scheme. An allow-list, since 'pipe:' of other readers, for one, runs a shell.
    """
    parts = urlsplit(url)
    if url and "://" not in url and not url.startswith("pipe:"):
        return "", url
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return "", unquote(url.partition("://")[2][len(parts.netloc) :])  # `parts.path` ends at "?" and "#"
    if parts.scheme == "s3" and parts.netloc:
        return parts.netloc, url.removeprefix("s3://").partition("/")[2].strip("/")
    raise ValueError(f"url {url!r} must be a plain path, file:///path or s3://bucket/prefix")


def without_slash(url: str) -> str:
    """A URL without slashes at its end: with and without, it is one place."""
    return url.rstrip("/") or url


def open_store(url: str, deadline: float = 600.0) -> Store:
    """The store at `url`: a plain path, file:///path or s3://bucket/prefix. Nothing is contacted yet.

    Keys and endpoint of S3 come from the usual AWS_* variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    AWS_ENDPOINT_URL).

    Args:
        url: where.
        deadline: seconds for which requests are repeated while a remote store does not answer.
    """
    bucket, path = check_url(url)
    short = without_slash(url)
    if not bucket:
        return FolderStore(short, Path(path))
    from data_shards.storage.bucket import BucketStore

    return BucketStore(short, bucket, path, deadline)
