"""What lies at the inputs and is not used: counted with its reason, and what is bad told at once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_shards.__main__ import main
from data_shards.manifest import read_manifest
from data_shards.sources.container import EXTENSIONS
from data_shards.sources.footage import find_footage
from data_shards.sources.inventory import NAMED, Inventory, told, visible
from tests.data_shards.test_picture_folder import fill
from tests.films import numbered, write


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")


def search(*places: object) -> tuple[list[str], Inventory]:
    account = Inventory()
    return [file.name for file in find_footage(tuple(map(str, places)), inventory=account)], account


def counts(account: Inventory) -> dict[str, object]:
    return {reason: entry["count"] for reason, entry in account.summary().items()}


HIDDEN = (
    ".a.mp4", "._a.mp4", ".Trash-1000/files/b.mp4", ".ipynb_checkpoints/a-checkpoint.mp4", ".git/annex/c.mp4",
    ".thumbnails/a.png", "__MACOSX/._a.mp4", "@eaDir/a.mp4/SYNOVIDEO.mp4", "deep/#recycle/d.mkv", "$RECYCLE.BIN/e.avi",
    "lost+found/f.avi",
)  # fmt: skip


def test_hidden_files_and_those_of_systems_are_counted(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "#20_is_no_bin.avi", tmp_path / ".DS_Store")
    touch(*(tmp_path / name for name in HIDDEN))
    names, account = search(tmp_path)
    assert names == ["#20_is_no_bin.avi", "a.mp4"]
    assert counts(account) == {"hidden files": len(HIDDEN)}
    assert account.bad == {}


def test_a_hidden_folder_that_is_named_is_meant(tmp_path: Path) -> None:
    touch(tmp_path / ".cache" / "a.mp4", tmp_path / ".cache" / ".b.mp4", tmp_path / "c.mp4")
    assert search(tmp_path / ".cache")[0] == ["a.mp4"]
    assert search(f"{tmp_path}/.cache/*.mp4")[0] == ["a.mp4"]
    assert search(f"{tmp_path}/.ca*/a.mp4")[0] == [".cache/a.mp4"]
    assert search(f"{tmp_path}/.cache/.b.mp4")[0] == [".b.mp4"]
    assert search(f"{tmp_path}/*.mp4")[0] == ["c.mp4"]


def test_nothing_but_hidden_files_is_told_as_such(tmp_path: Path) -> None:
    touch(tmp_path / ".a.mp4", tmp_path / "__MACOSX" / "b.mp4")
    with pytest.raises(
        ValueError, match=r"no video file \(.*\) there, nor .*; hidden files are not taken: 2$"
    ):
        find_footage((str(tmp_path),))


def test_hidden_pictures_are_no_frames(tmp_path: Path) -> None:
    fill(tmp_path, range(5))
    touch(*(tmp_path / f"._{number:04d}.png" for number in range(5)))
    (folder,) = find_footage((str(tmp_path),))
    assert len(folder.files) == 5  # type: ignore[union-attr]


@pytest.mark.parametrize("ending", [".mp4", ".MOV", ".m4v", ".M2TS", ".3gp", ".wmv", ".mpg", ".flv", ".ogv"])
def test_containers_are_known_in_either_case(tmp_path: Path, ending: str) -> None:
    assert ending.lower() in EXTENSIONS
    touch(tmp_path / f"IMG_0001{ending}", tmp_path / f"IMG_0002{ending.upper()}")
    assert len(search(tmp_path)[0]) == 2


def test_other_files_and_pictures_beside_videos_are_counted(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.mp4", "a.txt", "a.json", "cover.jpg", "b.insv", "c.mp4.part")))
    (tmp_path / "notes.md").symlink_to(tmp_path / "nowhere.md")
    names, account = search(tmp_path)
    assert names == ["a.mp4"]
    assert counts(account) == {"other files": 5, "pictures beside videos": 1}
    assert account.bad == {}
    assert f"left out, pictures beside videos: 1 ({tmp_path}/cover.jpg)" in told(account.summary())


def test_names_are_bounded_and_counted_once(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4", *(tmp_path / f"{number}.txt" for number in range(50)))
    _, account = search(tmp_path, f"{tmp_path}/*")
    entry = account.summary()["other files"]
    assert entry["count"] == 50
    assert isinstance(entry["names"], list)
    assert len(entry["names"]) == NAMED
    assert [line.rpartition(" and ")[2] for line in told(account.summary())] == ["47 more)"]


def dead_link(folder: Path) -> Path:
    (folder / "bad.mp4").symlink_to(folder / "gone" / "x.mp4")
    return folder / "bad.mp4"


def dead_folder(folder: Path) -> Path:
    (folder / "more").symlink_to("/nowhere/at/all")
    return folder / "more"


def link_to_itself(folder: Path) -> Path:
    (folder / "bad.mkv").symlink_to("bad.mkv")
    return folder / "bad.mkv"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "bad.mkv")
    return folder / "bad.mkv"


@pytest.mark.parametrize("make", [dead_link, dead_folder, link_to_itself, pipe])
def test_what_cannot_be_read_is_bad(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    touch(tmp_path / "a.mp4")
    bad = make(tmp_path)
    names, account = search(tmp_path)
    assert names == ["a.mp4"]
    assert list(account.bad) == [str(bad)]
    with pytest.raises(ValueError, match=bad.name):
        find_footage((str(tmp_path),))
    assert search(f"{tmp_path}/a*")[1].bad == {}  # what a pattern leaves out is nobody's business
    touch(tmp_path / "in" / "b.mp4")
    (tmp_path / "in" / f".{bad.name}").symlink_to(bad)
    assert search(tmp_path / "in")[1].bad == {}


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another way than its bits, which do not bind everybody."""
    touch(tmp_path / "a.mp4", tmp_path / "private" / "b.mp4", tmp_path / "lost+found" / "c")
    scandir = os.scandir

    def refusing(path: Any = ".") -> Any:
        if str(path).endswith(("private", "lost+found")):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    names, account = search(tmp_path)
    assert names == ["a.mp4"]
    reason = f"{tmp_path}/private: cannot be read (Permission denied)"
    assert account.bad == {f"{tmp_path}/private": reason}
    assert search(f"{tmp_path}/*.mp4")[1].bad == account.bad  # * goes into all folders
    with pytest.raises(ValueError, match=r"private: cannot be read \(Permission denied\)$"):
        build(tmp_path / "private", tmp_path / "out")


def build(folder: Path, out: Path, *options: str) -> None:
    from data_shards.build import run
    from data_shards.commands import Command

    words = ["video", "--input", str(folder), "--out", str(out), "--size", "16", "--frames", "4", *options]
    run(Command("", "data_shards.build").parser().parse_args(words))


def broken(folder: Path) -> dict[str, str]:
    """Inputs that are bad, each in another way, beside a good one; what is said of them."""
    write(folder / "good.mkv", numbered(40))
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("This is no video.\n" * 20)
    (folder / "pointer.mp4").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n")
    (folder / "copied.mp4").write_text("../annex/copied.mp4")
    (folder / "gone.mov").symlink_to(folder / "nowhere.mov")
    write(folder / "slow.mkv", numbered(40), rate=5)
    return {
        "empty.mp4": "is empty",
        "text.mp4": "cannot be opened as video",
        "pointer.mp4": "is a pointer of Git LFS",
        "copied.mp4": "is a link that was copied as text",
        "gone.mov": "is a link whose target is not there",
        "slow.mkv": "has only 5 frames per second",
    }


def test_all_bad_inputs_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    wrong = broken(tmp_path / "in")
    words = ["build", "video", "--input", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--fps", "10"]
    assert main([*words, "--frames", "4"]) == 2
    told_first, *lines = capsys.readouterr().err.splitlines()
    assert told_first.startswith("error: 6 inputs cannot be used")
    assert "--skip-bad" in told_first
    for name, words_of_it in wrong.items():
        assert [words_of_it in line for line in lines if name in line] == [True]
    assert len(lines) == 6
    assert not (tmp_path / "out").exists()


def test_bad_inputs_can_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    wrong = broken(tmp_path / "in")
    build(tmp_path / "in", tmp_path / "out", "--skip-bad", "--fps", "10", "--cut", "2")
    assert "left out, bad inputs: 6 (" in capsys.readouterr().out
    manifest = read_manifest(str(tmp_path / "out"))
    assert manifest.statistics["files"] == 1
    names = manifest.statistics["inputs_left_out"]["bad inputs"]["names"]
    assert all(any(name in told_of and why in told_of for told_of in names) for name, why in wrong.items())


def test_nothing_but_bad_inputs_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty\.mp4: is empty"):
        build(tmp_path, tmp_path / "out", "--skip-bad")


def test_a_bad_picture_leaves_a_gap(tmp_path: Path) -> None:
    fill(tmp_path / "in" / "a", range(12))
    fill(tmp_path / "in" / "b", range(4), "x{}_y.png")
    fill(tmp_path / "in" / "b", [0], "cover.png")
    (tmp_path / "in" / "a" / "0004.png").write_bytes(b"")
    (tmp_path / "in" / "a" / "0009.png").unlink()
    (tmp_path / "in" / "a" / "0009.png").symlink_to("nowhere.png")
    with pytest.raises(ValueError, match="3 inputs cannot be used") as error:
        build(tmp_path / "in", tmp_path / "out")
    assert all(name in str(error.value) for name in ("0004.png", "0009.png", "b/"))
    build(
        tmp_path / "in", tmp_path / "out", "--skip-bad", "--val-share", "0", "--test-share", "0", "--cut", "2"
    )
    assert read_manifest(str(tmp_path / "out")).samples("train") == 2  # 0 to 3 and 5 to 8


def test_names_of_bins_are_of_whole_parts() -> None:
    assert visible("a/#20_recycle.avi")
    assert visible("a.b/c..d.mp4")
    assert not visible("a/Thumbs.db")
    assert not visible("a/__macosx/b.mp4")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, name in enumerate((b"a\xff.mkv", b"a\xfe.mkv")):
        os.rename(
            write(tmp_path / "film.mkv", numbered(40, base=100 * number)),
            os.fsencode(tmp_path / "in") + b"/" + name,
        )
    (tmp_path / "in" / os.fsdecode(b"n\xff.txt")).touch()
    words = ["build", "video", "--input", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--cut", "2"]
    assert main([*words, "--size", "16", "--frames", "4", "--val-share", "0.5", "--test-share", "0"]) == 0
    assert read_manifest(str(tmp_path / "out")).statistics["inputs_left_out"]["other files"]["count"] == 1
    assert main(["check", str(tmp_path / "out")]) == 0
