"""The benchmark of SQAIR, in small: its peers compute the same, its table and its JSON agree."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data_shards.mistake import UserError
from model.interface import Video
from model.sqair.model import MLPSQAIR, ConvSQAIR
from trainer.__main__ import main
from trainer.bench.plain_sqair import Plain
from trainer.bench.sqair import check

SMALL = [
    "model.size=8", "model.what=3", "model.glimpse=4", "model.hidden=6", "batch.size=2"
]  # fmt: skip
KINDS: list[dict[str, Any]] = [
    {},
    {"objective": "vimco-released", "covariance": "diagonal", "truncate": True},
    {"objective": "exact", "count_prior": "odds", "where_prior": "fixed", "decoder": "sigmoid", "mean_image": False},
    {"objective": "exact", "propagation_prior": "residual"},
    {"objective": "concrete"},
]  # fmt: skip


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_peers_compute_the_same(kind: int) -> None:
    torch.manual_seed(0)
    model = replace(MLPSQAIR.small(), **KINDS[kind]).build().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert check(model, Video(torch.rand(2, 4, 3, 16, 16))) < 1e-5


def test_convolutions_too() -> None:
    torch.manual_seed(0)
    assert check(ConvSQAIR.small().build().train(), Video(torch.rand(2, 3, 3, 16, 16))) < 1e-5


def test_a_peer_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MLPSQAIR.small().build().train()
    monkeypatch.setattr(Plain, "forward", lambda self, video, step: 1.01 * model(video, step).loss)
    with pytest.raises(AssertionError, match=r"loss or gradients differ by \d"):
        check(model, Video(torch.rand(2, 2, 3, 16, 16)))


def test_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--rounds", "3", "--frames", "2", "--device", "cpu", "--json", str(tmp_path / "sqair.json")]
    assert main(["bench", "step", "sqair", "sqair-demo", *SMALL, *options]) == 0
    said, _, *table = (line.split() for line in capsys.readouterr().out.splitlines())
    assert said[:4] == ["loss", "and", "gradients", "are"]
    written = json.loads((tmp_path / "sqair.json").read_text())
    assert written["settings"]["clips"] == 2
    rows = {row["way"]: row for row in written["rows"]}
    assert [line[0] for line in table] == list(rows) == ["plain", "released", "ours"]
    assert rows["plain"]["faster"] == rows["plain"]["faster_at_least"] == 1
    for row in rows.values():
        assert 0 < row["least"] <= row["median"]
        assert row["faster_at_least"] == pytest.approx(rows["plain"]["least"] / row["least"])


def test_refuses_other_models() -> None:
    with pytest.raises(UserError, match="got demo, needs a recipe of SQAIR, such as sqair-demo"):
        main(["bench", "step", "sqair", "demo"])
