"""With a key a checkpoint is sealed, and one without the right seal is refused; without one all is as it was."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest
import torch

from data_shards.mistake import UserError
from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError
from tests.trainer.checkpoints.test_checkpoint import ALONE, PROGRESS, FakeEngine, save
from trainer.checkpoints.checkpoint import FOLDER, MANIFEST, newest
from trainer.checkpoints.load import load_model
from trainer.checkpoints.saver import Saver
from trainer.checkpoints.seal import VARIABLE, put_sealed, read_sealed
from trainer.config import RunConfig
from trainer.overrides import resolve

KEY, OTHER = "0123456789abcdef", "another key, as long"


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return resolve("demo", [f"output={tmp_path}"])


def save_with(key: str | None, config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save step 10 with that key; the path of its manifest."""
    set_key(key, monkeypatch)
    save(open_store(config.output), config, 10)
    return Path(config.output) / FOLDER / "step-00000010" / MANIFEST


def set_key(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if key is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, key)


@pytest.mark.parametrize(
    ("saved", "read", "reason"),
    [
        (None, None, ""),
        (KEY, KEY, ""),
        (KEY, f"{KEY}\n", ""),
        (KEY, None, ""),
        (None, KEY, f"has no seal: it was saved without {VARIABLE}, or is forged"),
        (OTHER, KEY, f"has a wrong seal: it was saved with another {VARIABLE}, or is forged"),
    ],
)
def test_what_is_read_with_which_key(
    saved: str | None, read: str | None, reason: str, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_with(saved, config, monkeypatch)
    set_key(read, monkeypatch)
    if not reason:
        assert load_model(config.output).step == 10
        return
    for look in (lambda: load_model(config.output), lambda: newest(open_store(config.output))):
        with pytest.raises(StorageError) as told:
            look()
        assert (
            str(told.value) == f"{path}: {reason}; unset {VARIABLE} to trust it, or start in another output"
        )
        assert KEY not in str(told.value)


def test_the_seal_is_hmac_sha256_over_name_and_content(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_with(KEY, config, monkeypatch)
    content = f"{FOLDER}/step-00000010/{MANIFEST}".encode() + b"\0" + path.read_bytes()
    wanted = hmac.digest(KEY.encode(), content, hashlib.sha256).hex()
    assert path.with_name(f"{MANIFEST}.hmac").read_text() == wanted
    written = [p for p in Path(config.output).rglob("*") if p.is_file()]
    assert not any(KEY.encode() in p.read_bytes() for p in written), "the key is written nowhere"


def test_a_manifest_that_was_changed_or_moved_is_refused(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_with(KEY, config, monkeypatch)
    tree = json.loads(path.read_text())
    path.write_text(json.dumps(tree | {"revision": "theirs"}))
    with pytest.raises(StorageError, match="has a wrong seal"):
        load_model(config.output)
    path.write_text(json.dumps(tree))
    assert load_model(config.output).step == 10
    path.parent.rename(path.parent.with_name("step-00000011"))
    with pytest.raises(StorageError, match="has a wrong seal"):
        load_model(config.output)


def test_who_has_the_key_seals_what_was_saved_without(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_with(None, config, monkeypatch)
    set_key(KEY, monkeypatch)
    store, name = open_store(config.output), f"{FOLDER}/{path.parent.name}/{MANIFEST}"
    put_sealed(store, name, store.read(name))
    assert load_model(config.output).step == 10


@pytest.mark.parametrize("seal", ["", "0" * 63, "0" * 64, "ü" * 64])
def test_a_seal_that_is_none_is_told(seal: str, config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_with(KEY, config, monkeypatch)
    path.with_name(f"{MANIFEST}.hmac").write_text(seal)
    with pytest.raises(StorageError, match=r"has a (wrong seal|seal that is none)"):
        load_model(config.output)


def test_rank_0_seals_nothing_that_another_rank_did_not_write(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_key(KEY, monkeypatch)
    store = open_store(str(tmp_path))
    put_sealed(store, "rank-00001.json", b"{}")
    assert read_sealed(store, "rank-00001.json") == b"{}"
    store.put("rank-00001.json", b'{"x": [1, "0"]}')
    with pytest.raises(StorageError, match="has a wrong seal"):
        read_sealed(store, "rank-00001.json")


@pytest.mark.parametrize("key", ["", "  ", "short"])
def test_a_key_that_is_none_is_told_at_the_start(
    key: str, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_key(key, monkeypatch)
    with pytest.raises(UserError, match=rf"^{VARIABLE} has \d characters, needs at least 16"):
        Saver(open_store(config.output), config, ALONE, "revision")


def test_older_sealed_checkpoints_are_pruned_whole(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_key(KEY, monkeypatch)
    saver = Saver(open_store(config.output), config, ALONE, "revision")
    for step in (10, 20, 30):
        torch.manual_seed(step)
        saver.save(FakeEngine(config), step, PROGRESS)
    saver.finish()
    assert len(list((Path(config.output) / FOLDER).iterdir())) == config.checkpoint.keep
