"""A bucket of an S3 server as a Store: range requests pinned to an ETag, repeated until a deadline.

s3fs makes the client and the thread that runs it. Requests go to its client directly: its own retries have no
deadline to set, and its translation of errors loses the status (it fails outright on Ceph's empty messages).
"""

import contextlib
import hashlib
import logging
import os
import random
import threading
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync

from data_shards.storage.client import client
from data_shards.storage.refusal import NoS3Error, code_of, is_no_s3, passes, reason_of, status_of
from data_shards.storage.store import Changed, NotFound, Stat, StorageError, Store

T = TypeVar("T")
log = logging.getLogger(__name__)

PART = 64 << 20  # bytes of one part of a large upload
SINGLE = 5 << 30  # the most that one PUT may carry
# What a request may raise: an answer, a failure on the way, an AWS_* variable that leads nowhere.
ERRORS = (ClientError, BotoCoreError, aiohttp.ClientError, NoS3Error, OSError, TimeoutError, ValueError)


class Outage(Exception):
    """A request that is worth repeating."""


class BucketStore(Store):
    """Objects s3://bucket/prefix/... ; make one per process, it does not survive a fork."""

    def __init__(self, url: str, bucket: str, prefix: str, deadline: float) -> None:
        self.url = url
        self.deadline = deadline
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        environment = tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith("AWS_")))
        self._client = client(os.getpid(), environment)
        self._closed = threading.Event()

    def close(self) -> None:
        """Requests that wait for the server end with an error."""
        self._closed.set()

    def stat(self, name: str) -> Stat:
        """One HEAD."""

        async def head(client: Any) -> Stat:
            found = await _answer(client.head_object(Bucket=self._bucket, Key=self._key(name)), "ETag")
            return Stat(found["ContentLength"], found["ETag"])

        try:
            return self._request(name, head)
        except NotFound:
            self._check_bucket()  # a HEAD does not say which of the two is missing
            raise

    def read(
        self,
        name: str,
        start: int | None = None,
        end: int | None = None,
        version: str | None = None,
        most: int | None = None,
    ) -> bytes:
        """One GET, of a range if one is given."""
        options = {} if version is None else {"IfMatch": version}
        if start is not None or end is not None:
            if end is not None and end <= (start or 0):
                return b""
            options["Range"] = f"bytes={start or 0}-{'' if end is None else end - 1}"

        async def get(client: Any) -> bytes:
            asked = client.get_object(Bucket=self._bucket, Key=self._key(name), **options)
            found = await _answer(asked, "ETag")
            async with found["Body"] as body:
                self.require_at_most(name, found["ContentLength"], most)
                data: bytes = await body.read()
            if len(data) != found["ContentLength"]:
                raise Outage(f"the answer ended after {len(data)} of {found['ContentLength']} bytes")
            return data

        data = self._request(name, get)
        if end is not None and len(data) != end - (start or 0):
            raise StorageError(
                self.address(name), f"ends at byte {(start or 0) + len(data)}, before byte {end}: truncated"
            )
        return data

    def put(self, name: str, source: bytes | Path, if_absent: bool = False) -> None:
        """One PUT, or a multipart upload for large files; the server checks MD5 sums."""
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if isinstance(source, Path) and size > (SINGLE if if_absent else PART):
            if if_absent:
                raise StorageError(
                    self.address(name), f"{size} bytes are too many for one conditional upload"
                )
            return self._put_parts(name, source)
        data = source if isinstance(source, bytes) else source.read_bytes()
        options = {"IfNoneMatch": "*"} if if_absent else {}
        options["ContentMD5"] = b64encode(
            hashlib.md5(data).digest()
        ).decode()  # the server refuses a damaged body
        before = self.retries

        async def put(client: Any) -> None:
            asked = client.put_object(Bucket=self._bucket, Key=self._key(name), Body=data, **options)
            await _answer(asked, "ETag")

        try:
            self._request(name, put)
        except FileExistsError:
            # The answer to a first attempt that did succeed may have been lost: then it is our own object.
            if self.retries == before or self.read(name) != data:
                raise

    def abandon(self, name: str, data: bytes) -> None:
        """An upload in parts that is aborted after the first; that it cannot be completed then is tried, too."""
        where = {"Bucket": self._bucket, "Key": self._key(name)}
        where["UploadId"] = self._request(name, partial(_begin_upload, where=where))["UploadId"]
        answer = self._request(name, partial(_upload_part, part=where | {"PartNumber": 1}, data=data))
        self._request(name, lambda client: client.abort_multipart_upload(**where))
        parts = {"Parts": [{"PartNumber": 1, "ETag": answer["ETag"]}]}
        with contextlib.suppress(StorageError, Outage):  # "there is no such upload" is right
            self._once(name, lambda client: client.complete_multipart_upload(**where, MultipartUpload=parts))

    def _put_parts(self, name: str, source: Path) -> None:
        where = {"Bucket": self._bucket, "Key": self._key(name)}
        upload = self._request(name, partial(_begin_upload, where=where))["UploadId"]
        try:
            parts = []
            for number, data in enumerate(_parts(source), start=1):
                md5 = b64encode(hashlib.md5(data).digest()).decode()
                part = where | {"UploadId": upload, "PartNumber": number, "ContentMD5": md5}
                answer = self._request(name, partial(_upload_part, part=part, data=data))
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            done = where | {"UploadId": upload, "MultipartUpload": {"Parts": parts}}
            self._request(name, lambda client: _answer(client.complete_multipart_upload(**done), "ETag"))
        except BaseException:
            with contextlib.suppress(StorageError, Outage):  # one attempt: the first error is the one to tell
                self._once(name, lambda client: client.abort_multipart_upload(**where, UploadId=upload))
            raise

    def list(self, prefix: str = "", unread: dict[str, str] | None = None) -> dict[str, int]:
        """All pages of the listing."""
        found: dict[str, int] = {}
        options: dict[str, str] = {"Bucket": self._bucket, "Prefix": self._key(prefix)}
        while True:
            page = self._request(prefix, lambda client: _answer(client.list_objects_v2(**options), "Name"))
            for entry in page.get("Contents", ()):
                found[entry["Key"].removeprefix(self._prefix)] = entry["Size"]
            if not page.get("IsTruncated"):
                return dict(sorted(found.items()))
            options["ContinuationToken"] = page["NextContinuationToken"]

    def delete(self, name: str) -> None:
        """One DELETE."""
        self._request(name, lambda client: client.delete_object(Bucket=self._bucket, Key=self._key(name)))

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _check_bucket(self) -> None:
        where = {"Bucket": self._bucket, "Prefix": self._prefix, "MaxKeys": 1}
        self._request("", lambda client: _answer(client.list_objects_v2(**where), "Name"))

    def _no_bucket(self) -> StorageError:
        return StorageError(self.url, f"bucket {self._bucket!r} does not exist")

    def _request(self, name: str, call: Callable[[Any], Awaitable[T]]) -> T:
        """The answer to `call`, repeated with growing pauses while the store is out, until the deadline."""
        attempt = 0
        since = time.monotonic()
        while True:
            try:
                return self._once(name, call)
            except Outage as error:
                self.retries += 1
                waited = time.monotonic() - since
                if waited > self.deadline:
                    raise StorageError(
                        self.address(name), f"no answer for {waited:.0f} s, {attempt + 1} attempts: {error}"
                    ) from error
                if attempt == 3:  # not for a hiccup
                    log.warning("%s: %s; trying for up to %.0f s", self.address(name), error, self.deadline)
                pause = min(5.0, 0.1 * 2**attempt) * random.uniform(0.5, 1.0)
                attempt += 1
                if self._closed.wait(pause):
                    raise StorageError(self.address(name), "closed while waiting for an answer") from error

    def _once(self, name: str, call: Callable[[Any], Awaitable[T]]) -> T:
        async def request() -> T:
            try:
                return await call(await self._client.fs.set_session())
            except ResponseParserError:
                raise NoS3Error("the server answers something else than XML") from None

        try:
            answer: T = sync(self._client.fs.loop, request)
            self._client.answered = True
            return answer
        except Outage:
            raise
        except ERRORS as error:
            if isinstance(error, ClientError) and error.operation_name == "HeadObject" and not code_of(error):
                error = self._told_by_get(name, error)
            raise self._refusal(name, error) from error

    def _told_by_get(self, name: str, error: ClientError) -> Exception:
        """What a GET is refused with where a HEAD was, whose answer has no room for a code."""
        refusal: Exception = error
        if status_of(error) == 404 or passes(error):
            return refusal

        async def get() -> None:
            client = await self._client.fs.set_session()
            found = await client.get_object(Bucket=self._bucket, Key=self._key(name), Range="bytes=0-0")
            found["Body"].close()

        try:
            sync(self._client.fs.loop, get)
        except ERRORS as told:
            refusal = told
        return refusal

    def _refusal(self, name: str, error: Exception) -> Exception:
        """What the server's answer, or that there was none, means."""
        address = self.address(name)
        if passes(error) or (self._client.answered and is_no_s3(error)):
            said = f"{status_of(error)} {code_of(error)}" if isinstance(error, ClientError) else ""
            return Outage(said.strip() or f"{type(error).__name__} {error}".strip())
        if isinstance(error, ClientError):
            status, code = status_of(error), code_of(error)
            if code == "NoSuchBucket":
                return self._no_bucket()
            if status == 404 and (code or error.operation_name.startswith("Head")):
                return NotFound(address, "no such object")
            if status in (409, 412) and error.operation_name == "PutObject":
                return FileExistsError(f"{address} exists already")
            if status == 412:
                return Changed(address, "was replaced while it was being read")
            if status == 416:
                return StorageError(address, "is shorter than the bytes asked for: truncated")
        return StorageError(address, reason_of(error))


async def _begin_upload(client: Any, where: dict[str, str]) -> Any:
    return await _answer(client.create_multipart_upload(**where), "UploadId")


async def _upload_part(client: Any, part: dict[str, Any], data: bytes) -> Any:
    return await _answer(client.upload_part(**part, Body=data), "ETag")


async def _answer(asked: Awaitable[Any], field: str) -> Any:
    """The answer, which has this field if it is one of S3: web servers answer 200 too."""
    found = await asked
    if field not in found:
        raise NoS3Error(f"the server answers without {field}")
    return found


def _parts(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while data := file.read(PART):
            yield data
