"""Runs with classes of pixels, from disk to table and page: evaluate and report of SegNet and SegNet-flow."""

from pathlib import Path

import pytest

from data_shards.sources.camvid import CLASSES, CamVid
from data_shards.writer import build
from model.interface import ModelConfig
from model.segnet.flow import SegNetFlow
from model.segnet.frames import SegNet
from tests.data_shards.test_camvid import write_camvid
from tests.saved_run import save_run
from trainer.__main__ import main
from trainer.evaluation.result import Evaluation


@pytest.mark.parametrize(
    ("model", "frames", "rows"),
    [
        (SegNet(width=4, kernel=3), 1, {"frames", "true labels", "found labels"}),
        (
            SegNetFlow(width=4, kernel=3, filters=4, hidden=4),
            3,
            {"prediction", "true labels", "found labels", "labels carried over", "rollout"},
        ),
    ],
)
def test_table_and_page(
    model: ModelConfig, frames: int, rows: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, first in (("train", 0), ("test", 90)):
        write_camvid(tmp_path, split, [f"A_{first + 30 * i:04d}" for i in range(3)])
    source = CamVid(str(tmp_path), width=24, height=16, frames=frames)
    data = str(tmp_path / "set")
    build("camvid", source, data, {"train": 3, "test": 3}, seed=0)
    run = save_run(tmp_path / "run", data, model=model)
    assert main(["evaluate", run, "--split", "test"]) == 0
    printed = capsys.readouterr().out.splitlines()
    start = next(n for n, line in enumerate(printed) if line.startswith("class_recall of"))
    assert printed[start].split()[2:] == ["model", "untrained", "majority", "class"]
    assert [line.split()[0] for line in printed[start + 1 : start + 12]] == list(CLASSES)
    result = Evaluation.from_json((tmp_path / "run" / "evaluation" / "test.json").read_text())
    assert result.classes == CLASSES
    assert sum(result.tables["model"]["class_recall"].counts) == result.tables["model"]["accuracy"].counts[0]
    assert main(["report", run, "--split", "test", "--clips", "1"]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    kinds = {"prediction", "rollout", "true labels", "found labels", "labels carried over"}
    assert {kind for kind in kinds if kind in page} >= rows - {"frames"}
    assert ("rollout" in page) == ("rollout" in rows)
    assert "mIoU" in page
