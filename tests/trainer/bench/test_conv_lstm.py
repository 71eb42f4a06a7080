"""The benchmark of the ConvLSTM, in small: its peers compute the same, its table and its JSON agree."""

import json
from pathlib import Path

import pytest
import torch

from trainer.__main__ import main
from trainer.bench import conv_lstm
from trainer.bench.conv_lstm import Ours, PlainConvLSTM, Size

TINY = Size("tiny", 2, 3, 2, 3, 3, 5)


@pytest.mark.parametrize("joined", [False, True])
def test_peers_compute_the_same(joined: bool) -> None:
    ours, plain, x = Ours(TINY), PlainConvLSTM(TINY, joined), torch.randn(2, 3, 2, 5, 5)
    inputs, hidden = ours.layer.input_conv, ours.layer.hidden_conv
    assert inputs.bias is not None
    if joined:
        weights = {"conv.weight": torch.cat([inputs.weight, hidden.weight], 1), "conv.bias": inputs.bias}
    else:
        weights = {"conv_x.weight": inputs.weight, "conv_x.bias": inputs.bias}
        weights |= {"conv_h.weight": hidden.weight, "conv_h.bias": torch.zeros(12)}
    plain.load_state_dict(weights)
    torch.testing.assert_close(plain(x), ours(x), atol=1e-6, rtol=0)


def test_counts_the_work_of_the_convolutions() -> None:
    forward = 2 * 12 * (2 + 3) * 9 * 2 * 3 * 25  # a multiplication and an addition for each weight and pixel
    assert TINY.flops == 3 * forward


def test_prints_a_table_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conv_lstm, "SIZES", (TINY,))
    options = ["--rounds", "1", "--device", "cpu", "--json", str(tmp_path / "conv_lstm.json")]
    assert main(["bench", "step", "conv-lstm", *options]) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    written = json.loads((tmp_path / "conv_lstm.json").read_text())
    ways = [[row["way"], row["precision"]] for row in written["rows"]]
    assert ways == [[way, precision] for way in ("two", "one", "ours") for precision in ("fp32", "bf16")]
    assert [line[:2] for line in table[3:9]] == ways
    assert written["rows"][0]["faster"] == 1
    for row in written["rows"]:
        assert row["flops"] * row["seconds"] == pytest.approx(TINY.flops)
        assert row["share"] == pytest.approx(row["flops"] / written["settings"]["peaks"][row["precision"]])
        assert row["peak_bytes"] > 0


@pytest.mark.parametrize("options", [["--rounds", "0"], ["--sizes", "99"]])
def test_refuses(options: list[str]) -> None:
    with pytest.raises(ValueError, match=r"needs at least 1 round and sizes from 0 to"):
        main(["bench", "step", "conv-lstm", *options])
