"""A real S3 server keeps the promises that a run relies on, and keeps nothing of having been asked."""

import time
from typing import Any

import pytest
import s3fs
from fsspec.asyn import sync

from cluster.preflight.checks import findings
from cluster.preflight.driver import output
from cluster.preflight.plan import Plan
from cluster.preflight.store import tidy
from data_shards.storage.place import check_url, open_store
from tests.ceph import Ceph

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]


def uploads(url: str) -> list[Any]:
    """Uploads in parts that have been begun and not ended."""
    filesystem = s3fs.S3FileSystem(skip_instance_cache=True)

    async def ask() -> Any:
        client = await filesystem.set_session()
        return await client.list_multipart_uploads(Bucket=check_url(url)[0])

    return list(sync(filesystem.loop, ask).get("Uploads", ()))


def test_a_real_store_is_qualified_and_left_as_it_was(s3: Ceph) -> None:
    url = f"{s3.bucket()}/run"
    store = open_store(url)
    store.put("config.json", b"{}")
    begun = time.monotonic()
    assert findings("store", store, "preflight/x") == []
    assert time.monotonic() - begun < 10
    tidy(store, "preflight/x")
    assert store.list() == {"config.json": 2}
    assert uploads(url) == []


def test_a_store_that_is_out_is_told_in_seconds(s3: Ceph) -> None:
    plan = Plan({}, f"{s3.bucket()}/run", 1, 1, {"CPU": 1.0}, "PACK", 300, 600, 600, "")
    s3.kill_gateway()
    try:
        begun = time.monotonic()
        (told,) = output(plan, 1)
        assert told.startswith(f"field output: {plan.output}/preflight/driver-")
        assert time.monotonic() - begun < 60
    finally:
        s3.start_gateway()
