"""Forged sets, checkpoints and configs, and the commands: refused in a sentence, as soon and as small as good ones.

`pytest -s -m slow tests/trainer/test_hostile_storage.py` prints what each took.
"""

import io
import json
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_shards.encoding import encode_array
from data_shards.manifest import MANIFEST as SET
from tests.clips import build_numbered
from tests.forged import forge_set, forged, replace_file, replace_index
from tests.launch import TINY
from trainer.checkpoints.checkpoint import CONFIG, FOLDER, MANIFEST

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STATE, WEIGHTS = "mp_rank_00_model_states.pt", "weights.pt"
WITHIN_S, WITHIN = 5.0, 1.5  # seconds, and of the memory that good storage takes

# Runs a module in a process of its own, and tells how much memory that took at most: one that is forked from this one
# would be told to take what this one does.
SCRIPT = """
import os, sys
child = os.posix_spawn(sys.executable, [sys.executable, "-m", *sys.argv[1:]], os.environ)
_, status, used = os.wait4(child, 0)
print(used.ru_maxrss, used.ru_utime + used.ru_stime, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Told:
    """What came of a command: its exit code, the lines on stderr, seconds on the clock and of processors, MB."""

    code: int
    lines: list[str]
    seconds: float
    processor: float
    memory: float


@dataclass(frozen=True)
class Place:
    """A set, a run of one step on it, and a folder that nothing makes."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "set"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def step(self) -> Path:
        return self.run / FOLDER / "step-00000001"

    @property
    def mark(self) -> Path:
        return self.folder / "mark"

    def told(self, command: str, *more: str) -> Told:
        """What comes of a command of COMMANDS, with `more` words behind it."""
        words = [*(word.format(data=self.data, run=self.run) for word in COMMANDS[command]), *more]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, timeout=200, cwd=ROOT
        )
        seconds = time.perf_counter() - started
        *lines, used = done.stderr.splitlines()
        peak, processor = map(float, used.split())
        return Told(done.returncode, lines, seconds, processor, peak / 1024)


RESUME = ["trainer", "train", "demo", *TINY, "data.url={data}", "output={run}", "steps=2"]
COMMANDS = {
    "train": RESUME,
    "train --config": ["trainer", "train", "--config", "{run}/config.json", "steps=2"],
    "evaluate": ["trainer", "evaluate", "{run}", "--data", "{data}", "--split", "train"],
    "check": ["data_shards", "check", "{data}"],
}


def saved(value: Any) -> bytes:
    """The content of a file of torch.save."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def repacked(data: bytes, change: Callable[[str, bytes], bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip whose members went through `change`, packed by `method`."""
    plain, buffer = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in plain.namelist():
            archive.writestr(name, change(name, plain.read(name)))
    return buffer.getvalue()


def claimed() -> bytes:
    """Weights that say they have 2^31 elements, of which the file has three."""
    more = lambda name, part: part.replace(b"K\x03", b"J\xff\xff\xff\x7f") if "data.pkl" in name else part  # noqa: E731
    return repacked(saved({"weight": torch.zeros(3)}), more)


def longer_member() -> bytes:
    """A zip whose directory says of a member, stored as it is, that it has a GB more."""
    data = bytearray(saved({"weight": torch.zeros(3)}))
    entry = data.index(b"PK\x01\x02")
    for place in (entry + 20, entry + 24):
        data[place : place + 4] = (1 << 30).to_bytes(4, "little")
    return bytes(data)


class Made:
    """A tensor of 4 GB that has no bytes in the file: the loader is asked to make it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.Tensor, (1 << 30,)


HARM: dict[str, Callable[[Path], bytes]] = {
    "code": forged,
    "shape": lambda mark: saved({"weight": torch.zeros(1).expand(1 << 40)}),
    "claim": lambda mark: claimed(),
    "made": lambda mark: saved({"module": Made()}),
    "bomb": lambda mark: repacked(
        saved({"weight": torch.zeros(1 << 28)}), lambda name, part: part, zipfile.ZIP_DEFLATED
    ),
    "member": lambda mark: longer_member(),
}


def rewritten(path: Path, changes: dict[str, Any]) -> None:
    """A JSON file with some of its fields changed."""
    tree = json.loads(path.read_text()) | changes
    tree.pop("sum", None)  # of a manifest of a checkpoint: who forges one leaves it out
    path.write_text(json.dumps(tree))


def counted(place: Place) -> None:
    """A manifest of a set with more samples than its bytes can hold."""
    tree = json.loads((place.data / SET).read_text())
    tree["splits"]["train"][0] |= {"samples": 10**15, "bytes": 1 << 50}
    (place.data / SET).write_text(json.dumps(tree))


def packed(place: Place, keys: int) -> None:
    """An index in some kB whose names unpack to 80 bytes times `keys`."""
    (row,) = json.loads((place.data / SET).read_text())["splits"]["train"]
    with np.load(place.data / row["index"]) as arrays:
        found = dict(arrays) | {"keys": np.zeros(keys, "<U20")}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **found)
    replace_index(place.data, buffer.getvalue())


def inflated(number: int, key: str, members: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
    """A GB of zeros as a sample's frames, in some 100 kB."""
    return key, members | {"frames.npy.zst": encode_array(np.zeros((1 << 20, 32, 32, 1), np.uint8))}


def resample(place: Place) -> None:
    shutil.rmtree(place.data)
    forge_set(place.data, inflated, size=16, channels=3)


def swap(place: Place, name: str, kind: str) -> None:
    replace_file(place.step, name, HARM[kind](place.mark))


# What is forged, the sentence about it, and whose storage it is.
EVERY = ("train", "evaluate", "check")
CASES: dict[str, tuple[Callable[[Place], object], str, tuple[str, ...]]] = {
    "manifest of no end": (
        lambda place: (place.data / SET).write_text("[" * 10**6), r"manifest\.json: is damaged or not of", EVERY,
    ),
    "manifest of huge counts": (counted, r"manifest\.json: is damaged .* samples do not fit into", EVERY),
    "manifest of a huge shape": (
        lambda place: rewritten(place.data / SET, {"shape": [8, 4096, 4096, 3]}), r"\.tar: sample .*shape", EVERY,
    ),
    "index that inflates": (lambda place: packed(place, 10**6), r"index\.npz: is damaged", EVERY),
    "sample that inflates": (resample, r"\.tar: .*frames\.npy\.zst", EVERY),
    "checkpoint's manifest of no end": (
        lambda place: (place.step / MANIFEST).write_text("[" * 10**6), "is no manifest of a checkpoint", EVERY[:2],
    ),
    "checkpoint's manifest of huge counts": (
        lambda place: rewritten(place.step / MANIFEST, {"step": 10**18, "world": 10**18}),
        "is no manifest of a checkpoint",
        EVERY[:2],
    ),
    "config": (
        lambda place: (place.run / CONFIG).write_text('{"a":' * 10**5), "is not JSON of fields", ("train --config",),
    ),
}  # fmt: skip
for kind in HARM:
    said = (
        "is forged or foreign: it names" if kind == "code" else r"is forged: it asks|is damaged, or no file"
    )
    both = ("train", "evaluate") if kind in ("code", "made") else ("evaluate",)
    CASES[f"weights: {kind}"] = (partial(swap, name=WEIGHTS, kind=kind), rf"weights\.pt: ({said})", both)
    CASES[f"state: {kind}"] = (partial(swap, name=STATE, kind=kind), rf"_states\.pt: ({said})", ("train",))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Tests copy it."""
    place = Place(tmp_path_factory.mktemp("good"))
    build_numbered(str(place.data), 3, size=16, channels=3, shard_bytes=1 << 20)
    made = place.told("train", "steps=1")
    assert made.code == 0, made.lines
    return place


@pytest.fixture(scope="module")
def usual(good: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """What the commands take where nothing is forged."""
    told = {}
    for command in COMMANDS:
        place = Place(tmp_path_factory.mktemp("usual"))
        copy(good, place)
        told[command] = place.told(command)
        assert told[command].code == 0, told[command].lines
        show("good", command, told[command])
    return told


def copy(good: Place, place: Place) -> None:
    """With the places of the copy in its config."""
    shutil.copytree(good.folder, place.folder, dirs_exist_ok=True)
    text = (place.run / CONFIG).read_text()
    (place.run / CONFIG).write_text(text.replace(str(good.folder), str(place.folder)))


def show(case: str, command: str, told: Told) -> None:
    print(f"\n{case}, {command}: {told.seconds:.1f} s, {told.memory:.0f} MB", end="")


@pytest.mark.parametrize(
    ("case", "command"), [(case, command) for case, (_, _, commands) in CASES.items() for command in commands]
)
def test_what_is_forged_costs_no_more_than_a_sentence(
    case: str, command: str, good: Place, usual: dict[str, Told], tmp_path: Path
) -> None:
    forge, sentence, _ = CASES[case]
    place = Place(tmp_path)
    copy(good, place)
    forge(place)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    told = place.told(command)
    show(case, command, told)
    assert told.code == 2, told.lines
    assert len(told.lines) == (1 if command != "check" else len(told.lines))
    assert re.search(sentence, told.lines[-1]), told.lines
    assert max(map(len, told.lines)) < 600
    assert told.memory < WITHIN * usual[command].memory
    # Of processors, for others may be busy here; and then a good one takes more too.
    assert told.processor < max(WITHIN_S, WITHIN * usual[command].processor)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
