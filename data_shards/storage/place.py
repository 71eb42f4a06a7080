"""Places: the one grammar of what names a folder or a bucket, and the store behind one.

A path; file:///path; s3://bucket/prefix. Schemes are read in either case, ~ and ~user are the home they stand for,
slashes at the end mean nothing. What only looks like one of them (s3:/bucket, https://, ~nobody) is refused: taken
for a path, it would make a folder of that name where nobody looks for it.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from data_shards.mistake import UserError
from data_shards.storage.folder import FolderStore
from data_shards.storage.store import Store

# Ceph's tenant:bucket is one; host:port is none, nor are '.' and '..', which lead elsewhere in the server's address.
_BUCKET = re.compile(r"([\w-]+:(?!\d+$))?\w[\w.-]*", re.ASCII)
# What stands before a colon in a file's name by mistake only; before ":/" at the start of a place everything does.
_SCHEMES = {
    "file",
    "s3",
    "s3a",
    "s3n",
    "gs",
    "gcs",
    "az",
    "abfs",
    "hdfs",
    "http",
    "https",
    "ftp",
    "ssh",
    "pipe",
}
_REMEDY = "must be a plain path, file:///path or s3://bucket/prefix"


def check_url(url: str) -> tuple[str, str]:
    """(bucket, prefix) of s3://bucket/prefix, or ("", path) of a plain path or file:///path; neither ends with "/".

    Raises:
        UserError: anything else. An allow-list, since 'pipe:' of other readers, for one, runs a shell.
    """
    if not url.strip() or not _without_slash(url).strip() or any(character < " " for character in url):
        raise UserError(f"url {url!r} {_REMEDY}")
    head, slash, _ = url.lstrip().partition("/")
    scheme = head.partition(":")[0].lower() if ":" in head else ""
    if not (slash and head.endswith(":")) and scheme not in _SCHEMES:
        return "", _without_slash(_at_home(url))
    if url[0].isspace():
        raise UserError(f"url {url!r} begins with a blank; leave it out")
    rest = url.partition(":")[2]
    if scheme == "file" and (path := _file_path(rest)):
        return "", _without_slash(path)
    if scheme == "s3" and rest.startswith("//") and rest.strip("/") and not rest.startswith("///"):
        return _bucket(url, *rest[2:].partition("/")[::2])
    raise UserError(f"url {url!r} {_REMEDY}{_advice(url, scheme, rest.strip('/'))}")


def canonical(url: str) -> str:
    """The one spelling of a place: of two that are the same, the same.

    Raises:
        UserError: as `check_url`.
    """
    bucket, path = check_url(url)
    return _without_slash(f"s3://{bucket}/{path}") if bucket else path


def is_http(url: str) -> bool:
    """Whether it is the URL of a web server."""
    return re.match(r"https?://[^/]", url, re.IGNORECASE) is not None


def is_elsewhere(url: str) -> bool:
    """Whether it is the URL of what no store here serves, such as https://host/path."""
    scheme, colon, rest = url.partition("://")
    known = scheme.lower() in ("file", "s3") or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme)
    return bool(colon and rest.strip("/")) and not known


def local_path(url: str) -> Path:
    """A place on this machine.

    Raises:
        UserError: it is in a bucket, or none.
    """
    bucket, path = check_url(url)
    if bucket:
        raise UserError(f"got the URL {url}, must be a path on this machine")
    return Path(path)


def require_folder(url: str) -> None:
    """UserError where no folder can be made at a place that is to be written to, for a file is in its way."""
    bucket, path = check_url(url)
    there = next(place for place in (Path(path).absolute(), *Path(path).absolute().parents) if place.exists())
    if not bucket and not there.is_dir():
        raise UserError(f"{there}: is a file, and a folder is wanted there; name another place")


def open_store(url: str, deadline: float = 600.0) -> Store:
    """The store at `url`: a plain path, file:///path or s3://bucket/prefix. Nothing is contacted yet.

    Keys and endpoint of S3 come from the usual AWS_* variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    AWS_ENDPOINT_URL).

    Args:
        url: where.
        deadline: seconds for which requests are repeated while a remote store does not answer.
    """
    bucket, path = check_url(url)
    if not bucket:
        return FolderStore(path, Path(path))
    from data_shards.storage.bucket import BucketStore

    return BucketStore(canonical(url), bucket, path, deadline)


def _without_slash(place: str) -> str:
    return place.rstrip("/") or "/"


def _at_home(path: str) -> str:
    """The path with the home that ~ or ~user stands for."""
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        user = path.partition("/")[0]
        raise UserError(f"url {path!r}: {user} is nobody's home here; for a file of that name write ./{path}")
    return expanded


def _file_path(rest: str) -> str:
    """The path of what follows file: ; RFC 8089 allows file:/path too. Empty where it has none, or is of a host."""
    if rest.startswith("//"):
        host, _, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            return ""
    else:
        path = rest[1:] if rest.startswith("/") else ""
    path = unquote(path).strip("/")
    return f"/{path}" if path else ""


def _bucket(url: str, bucket: str, key: str) -> tuple[str, str]:
    prefix = key.strip("/")
    if not _BUCKET.fullmatch(bucket):
        raise UserError(
            f"url {url!r}: {bucket!r} is no bucket's name; write s3://bucket/prefix, and the server's address into "
            "AWS_ENDPOINT_URL"
        )
    if not {".", ".."}.isdisjoint(prefix.split("/")):
        raise UserError(f"url {url!r}: a bucket has no folders '.' and '..'; write the prefix without them")
    return bucket, prefix


def _advice(url: str, scheme: str, rest: str) -> str:
    """What was meant, where that can be told; and how to name a folder that is called so."""
    meant = ""
    if scheme in ("s3", "s3a", "s3n") and rest:
        meant = f"; write s3://{rest}"
    elif scheme == "file" and rest:
        meant = f"; write file:///{rest}"
    return f"{meant} (a folder of that name is ./{url})"
