"""Nothing in a checkpoint is run, whatever its hashes say; what is no state is told with the file's name."""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data_shards.storage.folder import FolderStore
from data_shards.storage.store import StorageError
from tests.clips import build_numbered
from tests.forged import forged, replace_file
from tests.launch import TINY
from tests.saved_run import save_run
from trainer.__main__ import main
from trainer.checkpoints.checkpoint import FOLDER, MANIFEST, download, read_checkpoint
from trainer.checkpoints.load import load_model
from trainer.checkpoints.state_files import no_code
from trainer.checkpoints.universal import convert
from trainer.loop import Result, train
from trainer.overrides import resolve

STATE = "mp_rank_00_model_states.pt"


def saved(value: Any) -> bytes:
    """The content of a file of torch.save."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def compressed(size: int) -> bytes:
    """A file of zeros as torch.save would write it, if it compressed."""
    plain, buffer = zipfile.ZipFile(io.BytesIO(saved({"weight": torch.zeros(size)}))), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    return buffer.getvalue()


def legacy(mark: Path) -> bytes:
    """As torch.save wrote before it made archives."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


class Made:
    """Something large that has no bytes in the file: the loader is asked to make it from a number."""

    def __init__(self, kind: type, size: int) -> None:
        self.kind, self.size = kind, size

    def __reduce__(self) -> tuple[Any, ...]:
        return self.kind, (self.size,)


# What a file holds, and the sentence about it.
HARM: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "forged": (forged, "is forged or foreign: it names posix.mkdir, which no state needs, and nothing of it was run"),
    "truncated": (lambda mark: saved({"weight": torch.zeros(3)})[:-30], "is damaged, or no file of state"),
    "text": (lambda mark: b"<html>not here</html>", "is damaged, or no file of state"),
    "empty": (lambda mark: b"", "is damaged, or no file of state"),
    "legacy": (legacy, "is damaged, or no file of state"),
    "compressed": (lambda mark: compressed(10**6), "is forged: it asks for more memory than it has content"),
    "repeated": (
        lambda mark: saved({"weight": torch.zeros(1).expand(10**12)}),
        "is forged: it asks for more memory than it has content",
    ),
    "made": (
        lambda mark: saved({"weight": Made(torch.Tensor, 1 << 28)}),
        "is forged: it asks for more memory than it has content",
    ),
    "bytes": (
        lambda mark: saved({"weight": Made(bytearray, 1 << 28)}),
        "is forged: it asks for more memory than it has content",
    ),
    "sparse": (lambda mark: saved({"weight": torch.eye(3).to_sparse()}), "is damaged, or no file of state"),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("clips") / "set")
    build_numbered(url, 8, size=16, channels=3)
    return url


def go_on(run: Path, data: str, *words: str) -> Result:
    return train(resolve("demo", [*TINY, f"data.url={data}", f"output={run}", *words]))


@pytest.fixture(scope="module")
def trained(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step; tests copy it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    go_on(folder, data, "steps=1")
    return folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.parametrize("kind", HARM)
def test_weights_that_are_none_are_told_and_nothing_is_run(kind: str, data: str, tmp_path: Path) -> None:
    make, reason = HARM[kind]
    run, mark = tmp_path / "run", tmp_path / "mark"
    save_run(run, data)
    path = replace_file(run / FOLDER / "step-00000007", "weights.pt", make(mark))
    with pytest.raises(StorageError) as told:
        load_model(str(run))
    assert str(told.value).startswith(f"{path}: {reason}")
    assert str(told.value).endswith(
        f"; delete {run}/{FOLDER}/step-00000007 to go on from an earlier checkpoint"
    )
    assert not mark.exists()


def test_weights_must_be_weights_by_name(data: str, tmp_path: Path) -> None:
    save_run(tmp_path, data)
    for value in (torch.zeros(3), {"weight": [1.0]}, {0: torch.zeros(3)}):
        replace_file(tmp_path / FOLDER / "step-00000007", "weights.pt", saved(value))
        with pytest.raises(
            StorageError, match=r"weights\.pt: holds something else than weights by name; delete"
        ):
            load_model(str(tmp_path))


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("kind", HARM)
def test_a_resume_runs_nothing_of_a_state(kind: str, copy: Path, data: str, tmp_path: Path) -> None:
    make, reason = HARM[kind]
    mark = tmp_path / "mark"
    path = replace_file(copy / FOLDER / "step-00000001", STATE, make(mark))
    with pytest.raises(StorageError) as told:
        go_on(copy, data, "steps=2")
    assert str(told.value).startswith(f"{path}: {reason}")
    assert not mark.exists()


@pytest.mark.usefixtures("alone")
def test_a_state_of_something_else_is_told(copy: Path, data: str) -> None:
    folder = copy / FOLDER / "step-00000001"
    replace_file(folder, STATE, saved({"weight": torch.zeros(3)}))
    with pytest.raises(
        StorageError, match=rf"^{folder}: DeepSpeed cannot go on from its state \(\w+: .*\); delete"
    ):
        go_on(copy, data, "steps=2")


@pytest.mark.usefixtures("alone")
def test_a_start_from_forged_weights_runs_nothing(data: str, tmp_path: Path) -> None:
    save_run(tmp_path / "run", data)
    replace_file(tmp_path / "run" / FOLDER / "step-00000007", "weights.pt", forged(tmp_path / "mark"))
    with pytest.raises(StorageError, match="is forged or foreign"):
        go_on(tmp_path / "new", data, "steps=1", f"start={tmp_path / 'run'}")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("before", [{}, {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}])
def test_no_code_holds_for_those_who_ask_for_code(
    before: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    environment, mark = dict(os.environ), tmp_path / "mark"
    (tmp_path / "state.pt").write_bytes(forged(mark))
    with no_code(), pytest.raises(Exception, match=r"GLOBAL posix\.mkdir"):
        torch.load(tmp_path / "state.pt", weights_only=False)
    assert not mark.exists()
    assert dict(os.environ) == environment
    torch.load(tmp_path / "state.pt", weights_only=False)
    assert mark.exists(), "it does what it says where it may"


@pytest.mark.slow
def test_the_converter_runs_nothing(tmp_path: Path) -> None:
    source, mark = tmp_path / "state", tmp_path / "mark"
    source.mkdir()
    for name in (STATE, "zero_pp_rank_0_mp_rank_00_optim_states.pt"):
        (source / name).write_bytes(forged(mark))
    with pytest.raises(StorageError, match=r"^run/step: DeepSpeed cannot convert its state "):
        convert(source, tmp_path / "universal", "run/step")
    assert not mark.exists()


FORGED_MANIFESTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a name that leaves the folder": lambda tree: tree["files"].update({"../../x": [1, "0"]}),
    "a name from the root": lambda tree: tree["files"].update({"/etc/x": [1, "0"]}),
    "a size in words": lambda tree: tree["files"].update({"x": ["1", "0"]}),
    "a size below nothing": lambda tree: tree["files"].update({"x": [-1, "0"]}),
    "no weights": lambda tree: tree.update(files={}),
    "two weights": lambda tree: tree["files"].update({"weights.pt": [1, "0"]}),
    "another step": lambda tree: tree.update(step=8),
    "a step in words": lambda tree: tree.update(step="7"),
    "no ranks": lambda tree: tree.update(world=0),
    "no stage": lambda tree: tree.update(zero_stage=4),
    "no optimiser": lambda tree: tree["config"].update(optim={}),
    "a config in words": lambda tree: tree.update(config="demo"),
    "no config": lambda tree: tree.pop("config"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORGED_MANIFESTS)
def test_a_forged_manifest_is_told(kind: str, data: str, tmp_path: Path) -> None:
    path = Path(save_run(tmp_path, data)) / FOLDER / "step-00000007" / MANIFEST
    tree = json.loads(path.read_text())
    FORGED_MANIFESTS[kind](tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(StorageError) as told:
        load_model(str(tmp_path))
    assert str(told.value).startswith(f"{path}: is no manifest of a checkpoint; delete {path.parent}")


@pytest.mark.parametrize(
    "text", ["[" * 10**5, "[]", "null", "1e999", '{"schema": "x"}', "\x00", '{"step": NaN}']
)
def test_a_manifest_that_is_none_is_told(text: str, data: str, tmp_path: Path) -> None:
    path = Path(save_run(tmp_path, data)) / FOLDER / "step-00000007" / MANIFEST
    path.write_text(text)
    with pytest.raises(StorageError, match="is no manifest of a checkpoint; delete"):
        load_model(str(tmp_path))


def test_sizes_are_compared_before_anything_is_read(data: str, tmp_path: Path) -> None:
    class Unread(FolderStore):
        def read(self, name: str, *arguments: Any, **options: Any) -> bytes:
            assert name.endswith(MANIFEST), "of any size"
            return super().read(name, *arguments, **options)

    run = Path(save_run(tmp_path / "run", data))
    weights = next(run.rglob("weights.pt"))
    os.truncate(weights, 10**12)  # of which the disk holds nothing
    store = Unread(str(run), run)
    found = read_checkpoint(store, 7)
    with pytest.raises(StorageError, match=r"weights\.pt: is damaged: its size or hash differs"):
        download(store, found, next(iter(found.files)), tmp_path / "here")
    os.truncate(weights.parents[2] / MANIFEST, 10**12)
    with pytest.raises(StorageError, match=r"checkpoint\.json: is longer than \d+ bytes"):
        read_checkpoint(store, 7)


@pytest.mark.parametrize(
    "progress", [{}, {"first_start": 10**400, "seconds": {}}, {"first_start": 1, "seconds": []}]
)
@pytest.mark.usefixtures("alone")
def test_a_damaged_timeline_names_its_file(progress: dict[str, Any], copy: Path, data: str) -> None:
    path = copy / FOLDER / "step-00000001" / MANIFEST
    tree = json.loads(path.read_text()) | {"progress": progress}
    tree.pop("sum")
    path.write_text(json.dumps(tree))
    with pytest.raises(StorageError, match=rf"^{path}: timeline of the checkpoint is damaged"):
        go_on(copy, data, "steps=2")


def test_whoever_reads_weights_runs_nothing(data: str, tmp_path: Path) -> None:
    save_run(tmp_path / "run", data)
    replace_file(tmp_path / "run" / FOLDER / "step-00000007", "weights.pt", forged(tmp_path / "mark"))
    more = {"evaluate": ("--split", "train"), "report": (), "compare": ("--out", str(tmp_path / "page"))}
    for command, words in more.items():
        with pytest.raises(StorageError, match=r"weights\.pt: is forged or foreign"):
            main([command, str(tmp_path / "run"), *words])
    assert not (tmp_path / "mark").exists()
