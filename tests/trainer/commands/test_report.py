"""The command: the page of a run, its pictures, what is reused, what a browser makes of it."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_shards.clip import Clip
from data_shards.sources.sprites import Sprites
from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError
from data_shards.writer import build
from model.sqair.model import MLPSQAIR
from tests.conftest import require
from tests.forged import forge_set
from tests.saved_run import save_run
from tests.trainer.html import check_page
from trainer.__main__ import main
from trainer.checkpoints.load import load_model
from trainer.evaluation.result import Evaluation
from trainer.evaluation.stored import stored_evaluation
from trainer.journal import stored_lines


@dataclass(frozen=True)
class Noise:
    """A source without truth."""

    size: int = 16

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        for index in range(count):
            frames = np.random.default_rng(index).integers(0, 256, (5, self.size, self.size, 3), np.uint8)
            yield Clip(f"{split}-{index}", frames)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_set: str) -> str:
    return save_run(tmp_path_factory.mktemp("report") / "run", tiny_set, lines=40)


@pytest.fixture(scope="module")
def page_file(run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    assert main(["report", run, "--clips", "3", "--limit", "8", "--pictures", str(folder)]) == 0
    assert len(list(folder.glob("*.gif"))) == 3
    return Path(run) / "report.html"


def test_report_of_a_run_tells_the_whole_story(page_file: Path, run: str, tiny_set: str) -> None:
    page = check_page(page_file.read_text())
    words = " ".join(page.words)
    for needed in (
        "Best of 16",
        "Median of 16",
        "Worst of 16",
        "copy-last",
        "oracle ceiling",
        "k-means",
        "groups of those pixels by place and colour, as many as there truly are objects",
        "psnr (dB) ↑",
        "0123abc",
    ):
        assert needed in words, needed
    assert f"{run}/checkpoints/step-00000007" in words
    assert tiny_set in words
    alts = [str(a["alt"]) for a in page.named("img")]
    rows = (
        "frames",
        "prediction",
        "true objects",
        "found objects",
        "mask 1",
        "depth order",
        "object 2",
        "background",
    )
    for row in (*rows, "motion", "rollout"):
        assert sum(alt.startswith(f"{row}: ") for alt in alts) == 3, row
    charts = [str(a["aria-label"]) for a in page.named("div") if "aria-label" in a]
    assert any(label.startswith("loss over training: 1.00 at step 0") for label in charts)
    assert len(page_file.read_bytes()) < 2_000_000


def test_report_reuses_the_evaluation_of_the_same_checkpoint_only(
    run: str, tiny_set: str, page_file: Path, tmp_path: Path
) -> None:
    folder, loaded = Path(run) / "evaluation", load_model(run)
    assert [path.name for path in folder.iterdir()] == ["val-first-8.json"]
    result = Evaluation.from_json((folder / "val-first-8.json").read_text())
    assert result.clips == 8
    for name, checkpoint, clips, limit, reused in (
        ("val.json", result.checkpoint, 12345, 4, True),
        ("val.json", "another", 12345, 4, False),
        ("val.json", result.checkpoint, 3, 4, False),
        ("val.json", result.checkpoint, 16, 200, True),  # all that there are
        ("val-first-8.json", result.checkpoint, 8, 8, True),
        ("val-first-8.json", result.checkpoint, 8, 9, False),
    ):
        (folder / "val.json").unlink(missing_ok=True)
        marked = replace(result, checkpoint=checkpoint, clips=clips, split="marked")
        (folder / name).write_text(marked.to_json())
        found = stored_evaluation(open_store(run), loaded, tiny_set, "val", limit)
        assert found == (marked if reused else None), (name, checkpoint, clips, limit)
    others: list[dict[str, Any]] = [{"weights": "0" * 12}, {"shards": "0" * 12}, {"weights": ""}]
    for other in others:
        # The run went back and saved others at this step; the set was built anew; of an older version.
        (folder / "val-first-8.json").write_text(replace(marked, **other).to_json())
        assert stored_evaluation(open_store(run), loaded, tiny_set, "val", 8) is None
    for text in ("", "[]", "{}", '{"tables": {"model": 1}}', "<html>"):  # damaged, or somebody else's
        (folder / "val-first-8.json").write_text(text)
        assert stored_evaluation(open_store(run), loaded, tiny_set, "val", 8) is None
    (folder / "val-first-8.json").write_text(marked.to_json())
    out = tmp_path / "new" / "page.html"
    main(["report", run, "--clips", "1", "--limit", "8", "--out", str(out)])
    assert "of the marked split" in out.read_text()


def test_report_of_video_without_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Real video: no objects, no oracle; nothing about them on the page, and no metrics.jsonl either."""

    data = str(tmp_path / "set")
    build("noise", Noise(), data, {"train": 2, "val": 4}, seed=0)
    run = save_run(tmp_path / "run", data)
    (tmp_path / "run" / "metrics.jsonl").unlink()
    out = tmp_path / "page.html"
    assert main(["report", run, "--clips", "2", "--out", str(out)]) == 0
    assert f"report: {out}" in capsys.readouterr().out
    page = check_page(out.read_text())
    words = " ".join(page.words)
    assert "oracle" not in words.partition("Scores")[0]
    assert "No line of metrics was recorded." in words
    assert "fg_ari_video no truth.visible_ids" in words
    alts = [str(a["alt"]) for a in page.named("img")]
    assert not any(alt.startswith("true objects") for alt in alts)
    assert any(alt.startswith("found objects") for alt in alts)


def test_clips_of_two_frames_have_a_page_without_an_animation(tmp_path: Path) -> None:
    """What is found in the first frame and what is predicted of the second have no frame in common."""
    data = str(tmp_path / "set")
    build("sprites", Sprites(size=16, frames=2, objects=2), data, {"val": 2}, seed=0)
    run = save_run(tmp_path / "checkpoints" / "run", data, lines=40)
    assert main(["report", run, "--clips", "1", "--pictures", str(tmp_path / "pictures")]) == 0
    assert [path.suffix for path in (tmp_path / "pictures").iterdir()] == [".png"]
    page = check_page((tmp_path / "checkpoints" / "run" / "report.html").read_text())
    assert not any("image/gif" in str(a["src"]) for a in page.named("img"))
    # The run is found though its parent is called checkpoints: so are its lines.
    assert "No line of metrics was recorded." not in page.words


def test_models_with_boxes_and_a_prior_show_both(tmp_path: Path, tiny_set: str) -> None:
    run = save_run(tmp_path / "run", tiny_set, model=MLPSQAIR.small())
    assert main(["report", run, "--clips", "1", "--limit", "4"]) == 0
    alts = [str(a["alt"]) for a in check_page((tmp_path / "run" / "report.html").read_text()).named("img")]
    for kind in ("boxes", "sample"):
        assert sum(alt.startswith(f"{kind}: ") for alt in alts) == 1, alts


def test_user_is_told_what_is_wrong(run: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--clips: got 0, must be at least 1"):
        main(["report", run, "--clips", "0"])
    with pytest.raises(ValueError, match="--limit: got 0, must be at least 1"):
        main(["report", run, "--limit", "0"])
    for option in ("out", "pictures"):
        with pytest.raises(ValueError, match=f"--{option}: /dev/null is no folder"):
            main(["report", str(tmp_path / "nothing"), f"--{option}", "/dev/null/page.html"])
    with pytest.raises(ValueError, match="split 'holdout' must be one of"):
        main(["report", run, "--split", "holdout"])
    with pytest.raises(ValueError, match="no complete checkpoint"):
        main(["report", str(tmp_path / "nothing")])


def test_a_line_cut_off_by_a_kill_is_left_out(run: str) -> None:
    assert len(stored_lines(open_store(run))) == 40


@pytest.mark.service
@pytest.mark.parametrize(("width", "scheme"), [(1200, 0), (1200, 1), (500, 1)])
def test_page_renders_in_a_browser(page_file: Path, tmp_path: Path, width: int, scheme: int) -> None:
    """Chromium: every picture drawn, nothing wider than the screen, dark when asked, a silent console."""
    require("chromium")
    probe = """<script>addEventListener("load", () => {
        const broken = [...document.images].filter(i => !i.naturalWidth).length;
        const wide = document.documentElement.scrollWidth - innerWidth;
        const ground = getComputedStyle(document.body).backgroundColor;
        document.body.dataset.found = JSON.stringify({broken, wide, ground});
    })</script></body>"""
    copy = tmp_path / "page.html"
    copy.write_text(page_file.read_text().replace("</body>", probe))
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    options += ["--enable-logging=stderr", f"--window-size={width},2000"]
    options += [f"--blink-settings=preferredColorScheme={scheme}"]  # 0 = dark, 1 = light
    shot = tmp_path / "page.png"
    for action in ("--dump-dom", f"--screenshot={shot}"):
        command = ["chromium", *options, action, copy.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert "CONSOLE" not in done.stderr, done.stderr
        if action == "--dump-dom":
            found = re.search(r'data-found="([^"]*)"', done.stdout)
            assert found
            state = json.loads(found[1].replace("&quot;", '"'))
            assert state["broken"] == 0
            assert state["wide"] <= 0
            assert state["ground"] == ("rgb(20, 23, 27)" if scheme == 0 else "rgb(255, 255, 255)")
    with Image.open(shot) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 200  # not a blank page


@pytest.mark.parametrize("key", ["../outside", "/tmp/outside", "a/b"])
def test_a_forged_key_writes_nothing_outside_of_the_folder(key: str, tmp_path: Path) -> None:
    """Pictures are called by the keys of clips."""
    forge_set(tmp_path / "set", lambda number, _, members: (f"{key}{number}", members), size=16, channels=3)
    run = save_run(tmp_path / "run", str(tmp_path / "set"))
    pictures = tmp_path / "below" / "pictures"
    with pytest.raises(
        StorageError, match=rf"^{tmp_path}/set/train-.*\.index\.npz: is damaged: .*{key}0.* no name"
    ):
        main(["report", run, "--split", "train", "--pictures", str(pictures)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "set"]
    assert not list(Path("/tmp").glob("outside*"))
