import io
import json
import sys

import pytest

from trainer.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_one_json_line_per_interval(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(10)
    progress.line({"step": 5, "loss": 0.5})
    progress.line({"step": 5, "scores": {"psnr": 20.0}})
    progress.say("a sentence")
    progress.close()
    said = capsys.readouterr()
    assert [json.loads(line) for line in said.out.splitlines()] == [
        {"step": 5, "loss": 0.5},
        {"step": 5, "scores": {"psnr": 20.0}},
    ]
    assert said.err == "a sentence\n"


def test_a_terminal_gets_a_bar_that_also_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    progress = Progress(100)
    progress.line({"step": 40, "loss": 0.25})
    progress.line({"step": 20, "loss": 0.5})  # a worker was lost; the run resumed from step 20
    progress.say("worker lost")
    progress.close()
    assert "20/100" in err.getvalue()
    assert "loss=0.5" in err.getvalue()
    assert "worker lost" in err.getvalue()
    assert "{" not in out.getvalue()


def test_a_start_that_is_known_is_shown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    err = Terminal()
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sys, "stderr", err)
    progress = Progress(100, start=60)
    assert "60/100" in err.getvalue()
    progress.line({"step": 60, "scores": {"psnr": 20.0}})
    progress.line({"step": 80, "loss": 0.5})
    progress.close()
    assert "80/100" in err.getvalue()
