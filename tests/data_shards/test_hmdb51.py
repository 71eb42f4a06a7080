"""HMDB-51's lists: who gets which file, what is in none, films kept whole, mistakes named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_shards.sources.hmdb51 import Hmdb51
from tests.films import write

FILMS = ("Alpha", "Beta_wave_2", "Gamma")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two classes with clips of three films each; the lists in a folder beside. Brightness tells files apart."""
    level = 10
    for action in ("wave", "shoot_bow"):
        folder = tmp_path / "videos" / action
        folder.mkdir(parents=True)
        lines: dict[int, list[str]] = {1: [], 2: []}
        for film in FILMS:
            for number in range(3):
                name = f"{film}_{action}_f_nm_np1_fr_med_{number}.avi"
                write(
                    folder / name, [np.full((32, 32, 3), level, np.uint8)] * 6, codec=("rawvideo", "yuv420p")
                )
                level += 10
                lines[1].append(f"{name} {(1, 2, 0)[number] if film == 'Gamma' else 1} \n")
                lines[2].append(f"{name} 2\n")
        write(folder / "extra.avi", [np.zeros((32, 32, 3), np.uint8)] * 6, codec=("rawvideo", "yuv420p"))
        lists = tmp_path / "splits" / "deep"
        lists.mkdir(parents=True, exist_ok=True)
        for fold, some in lines.items():
            (lists / f"{action}_test_split{fold}.txt").write_text(
                "".join(some) + f"Lost_{action}_0.avi 1\n\n"
            )
    return tmp_path


def source(archive: Path, **parameters: Any) -> Hmdb51:
    usual: dict[str, Any] = {"splits": str(archive / "splits"), "size": 16, "frames": 3}
    return Hmdb51(input=(str(archive / "videos"),), **(usual | parameters))


def files(made: Hmdb51, split: str, seed: int = 0) -> set[str]:
    return {str(clip.facts["file"]).rpartition("/")[2] for clip in made.clips(split, 1000, seed)}


def test_the_lists_say_who_gets_which_file(archive: Path) -> None:
    made = source(archive)
    test = {f"Gamma_{action}_f_nm_np1_fr_med_1.avi" for action in ("wave", "shoot_bow")}
    for seed in range(4):
        train, val = files(made, "train", seed), files(made, "val", seed)
        assert files(made, "test", seed) == test
        assert len(train) + len(val) == 14  # 18 listed and there, less 2 of test and 2 of neither
        assert not (train | val) & test
        assert not any(
            name.startswith(("extra", "Lost")) or (name.endswith("_2.avi") and "Gamma" in name)
            for name in train | val
        )
    assert made.statistics()["files_not_listed"] == 1  # one name, in two folders
    assert made.statistics()["listed_but_missing"] == 2
    assert made.statistics()["files"] == 16


def test_val_takes_whole_films(archive: Path) -> None:
    films, made = {}, source(archive)
    for seed in range(6):
        train, val = ({n.rsplit("_f_nm", 1)[0] for n in files(made, s, seed)} for s in ("train", "val"))
        held = {next(f for f in FILMS if n.startswith(f)) for n in val}
        assert len(held) == 1
        assert not any(n.startswith(next(iter(held))) for n in train)
        films[seed] = next(iter(held))
    assert len(set(films.values())) > 1
    assert not files(source(archive, val_share=0.0), "val")
    two = source(archive, val_share=0.5)
    assert len({n.partition("_")[0] for n in files(two, "val")}) == 2


def test_other_folds_have_other_lists(archive: Path) -> None:
    made = source(archive, fold=2)
    assert len(files(made, "test")) == 18
    assert not files(made, "train")
    with pytest.raises(ValueError, match=r"splits .*: no list \*_test_split3\.txt there"):
        files(source(archive, fold=3), "train")
    with pytest.raises((ValueError, TypeError), match="4"):
        source(archive, fold=4)


def test_lists_may_lie_below_the_videos(archive: Path) -> None:
    (archive / "splits").rename(archive / "videos" / "lists")
    assert files(source(archive, splits=None), "test") == files(
        source(archive, splits=str(archive / "videos")), "test"
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a.avi 3", r"wave_test_split1\.txt, line 1: 'a\.avi 3' must be a file name and 0, 1 or 2"),
        ("a.avi", "must be a file name"),
        ("a.avi 1\na.avi 2", "line 2: a.avi has another number elsewhere"),
        ("a.avi 1", "none of its 20 files is in train or test of fold 1"),
    ],
)
def test_bad_lists_are_named(archive: Path, tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "wave_test_split1.txt").write_text(line)
    with pytest.raises(ValueError, match=words):
        files(source(archive, splits=str(tmp_path / "bad")), "train")


def test_real_clips(real_data: Path, tmp_path: Path) -> None:
    names = [path.name for path in (real_data / "videos").glob("*_wave_*.avi")]
    lines = [f"{name} {number}\n" for name, number in zip(sorted(names), (1, 1, 2), strict=True)]
    (tmp_path / "wave_test_split1.txt").write_text("".join(lines))
    made = Hmdb51(input=(str(real_data / "videos"),), splits=str(tmp_path), size=32, frames=8)
    found = {split: files(made, split) for split in ("train", "val", "test")}
    assert sorted(map(len, found.values())) == [1, 1, 1]
    assert set.union(*found.values()) == set(names)
    assert made.statistics()["files_not_listed"] == 5
