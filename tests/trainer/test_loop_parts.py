"""What the loop stands on: seeds, batches, the journal, interruptions, exit codes, the share of each rank."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from data_shards.clip import Batch
from data_shards.exits import exit_code
from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError
from model import MODELS
from model.interface import Truth, Video
from trainer.batch import limited, split_video, to_video
from trainer.engine import deepspeed_config
from trainer.flops import forward_flops, peak_flops
from trainer.interruption import Interruption, at_once
from trainer.journal import Journal, local_folder, run_name
from trainer.overrides import resolve
from trainer.process_group import environment, seed_draws

CPU = torch.device("cpu")


def draw(*key: int) -> float:
    seed_draws(*key)
    return float(torch.rand(()))


def test_draws_depend_on_every_part_of_the_key_and_on_nothing_else() -> None:
    keys = [(seed, step, micro) for seed in range(3) for step in range(20) for micro in range(4)]
    values = [draw(*key) for key in keys]
    assert len(set(values)) == len(values)
    assert [draw(*key) for key in reversed(keys)] == values[::-1]


def test_a_lone_process_gets_the_variables_that_deepspeed_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "x")  # so that it is restored
        monkeypatch.delenv(name)
    assert environment() == (0, 1, 0)
    assert os.environ["MASTER_ADDR"] == "127.0.0.1"
    assert int(os.environ["MASTER_PORT"]) > 0
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert environment()[:2] == (3, 8)


# What a thread of gloo does to an interpreter that ends while the thread still has tensors to free.
ABORTING = """
import atexit, os, sys
import torch.distributed as dist
from trainer.process_group import environment, leave

class Held:
    def __del__(self):
        os.abort()

held = Held()
atexit.register(print, "tidied")
if sys.argv[1] == "joined":
    environment()
    dist.init_process_group("gloo")
leave(int(sys.argv[2]))
"""


@pytest.mark.parametrize("code", [0, 1, 130])
def test_a_rank_that_is_done_does_not_wait_for_the_end_of_the_interpreter(code: int) -> None:
    command = [sys.executable, "-c", ABORTING]
    environment = {name: value for name, value in os.environ.items() if name != "RANK"}
    done = subprocess.run([*command, "joined", str(code)], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (code, "tidied\n"), done.stderr
    alone = subprocess.run([*command, "alone", str(code)], capture_output=True, text=True, env=environment)
    assert alone.returncode == -signal.SIGABRT


def a_batch(clips: int) -> Batch:
    rng = np.random.default_rng(0)
    return Batch(
        [str(i) for i in range(clips)],
        rng.integers(0, 256, (clips, 2, 4, 5, 3), np.uint8),
        amodal_masks=rng.integers(0, 256, (clips, 2, 1, 4, 5), np.uint8),
        present=np.ones((clips, 1), np.int32),
    )


def test_video_has_the_frames_of_the_batch_between_0_and_1() -> None:
    batch = a_batch(3)
    video = to_video(batch, CPU)
    assert video.frames.shape == (3, 2, 3, 4, 5)
    assert video.frames[1, 1, 2, 3, 4].item() == pytest.approx(batch.frames[1, 1, 3, 4, 2] / 255)
    assert video.truth is not None
    assert video.truth.amodal_masks is not None
    assert float(video.truth.amodal_masks.max()) <= 1
    assert video.truth.visible_ids is None
    assert to_video(Batch(["0"], batch.frames[:1]), CPU).truth is None


def test_micro_batches_and_limits_keep_the_order() -> None:
    video = to_video(a_batch(5), CPU)
    assert [p.frames.shape[0] for p in split_video(video, 2)] == [2, 2, 1]
    assert torch.equal(torch.cat([p.frames for p in split_video(video, 2)]), video.frames)
    some = list(limited(iter([video, video, video]), 7))
    assert [v.frames.shape[0] for v in some] == [5, 2]
    assert some[1].truth is not None
    assert some[1].truth.present is not None
    assert some[1].truth.present.shape[0] == 2
    assert [v.frames.shape[0] for v in limited(iter([video]), None)] == [5]


def test_the_journal_drops_lines_of_lost_work_and_half_lines(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path), 0)
    for step in (1, 2, 3):
        journal.write({"step": step, "loss": float(step), "terms": {"a": 0.5}})
    journal.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    journal = Journal(str(tmp_path), 2)
    journal.write({"step": 3, "loss": 30.0, "terms": {}})
    journal.close()
    lines = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert list((tmp_path / "events").iterdir())


def test_a_run_on_a_bucket_writes_below_runs() -> None:
    assert local_folder("s3://bucket/some/run") == Path("runs", run_name("s3://bucket/some/run"))
    assert len({local_folder(f"s3://bucket/{path}") for path in ("a_b", "a/b", "c/b")}) == 3
    assert local_folder("/a/run") == local_folder("file:///a/run") == Path("/a/run")


def test_a_file_url_is_one_folder_to_the_journal_and_to_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    for number, url in enumerate(
        (f"file://localhost{tmp_path}/a%20run", f"file://{tmp_path}/a%20run"), start=1
    ):
        journal = Journal(url, 0)
        journal.write({"step": number, "loss": 1.0, "terms": {}})
        journal.close()
        assert json.loads(open_store(url).read("metrics.jsonl"))["step"] == number
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    with pytest.raises(ValueError, match="must be a plain path"):
        local_folder("http://host/run")


def test_the_first_signal_is_a_request_and_the_second_an_order() -> None:
    with Interruption() as interruption:
        assert not interruption.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    answers = iter([False, True])
    asked = Interruption(lambda: next(answers))
    assert [asked.requested, asked.requested] == [False, True]


def test_before_training_a_signal_ends_the_process_at_once() -> None:
    with at_once():
        assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def fail(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("field x: got 1, needs 2"), 2),
        (StorageError("s3://b/x", "no such bucket"), 2),
        (FileExistsError("x exists already"), 2),
        (KeyboardInterrupt(), 130),
        (RuntimeError("bug"), 1),
    ],
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: fail(error)) == code
    said = capsys.readouterr().err
    assert ("Traceback" in said) == (code == 1)
    assert exit_code(lambda: 0) == 0


def test_the_batch_is_shared_out_or_refused() -> None:
    config = resolve("demo", ["batch.size=12", "batch.micro=2", "optim.clip_norm=0"])
    assert config.batch.micro_of(3) == 2
    tree = deepspeed_config(config, 3)
    assert (tree["gradient_accumulation_steps"], tree["train_micro_batch_size_per_gpu"]) == (2, 2)
    assert tree["gradient_clipping"] == 0.0  # DeepSpeed's default would be 1.0
    with pytest.raises(ValueError, match=r"field batch\.size: got 12, needs a multiple of"):
        config.batch.micro_of(4)
    assert resolve("demo", ["batch.size=12"]).batch.micro_of(4) == 3
    with pytest.raises(ValueError, match=r"batch\.size"):
        resolve("demo", ["batch.size=2"]).batch.micro_of(4)


def test_flops_are_those_of_the_convolutions_and_leave_the_draws_alone() -> None:
    conv = torch.nn.Conv2d(3, 8, 3, padding=1)
    state = torch.get_rng_state()
    model = MODELS["copy-last"]().build()
    model.forward = lambda video, step: (conv(video.frames[:, 0]), torch.rand(3))  # type: ignore
    video = Video(torch.rand(2, 2, 3, 6, 6, generator=torch.Generator().manual_seed(0)), Truth())
    assert forward_flops(model, video, 0) == 2 * 2 * 8 * 3 * 9 * 36
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("product_s", "convolution_s", "rate"),
    [
        (0.5, 4.0, 2 * 768**3 / 0.5),
        (4.0, 0.5, 2 * 256 * 64 * 7**2 * 32**2 / 0.5),
    ],
)
def test_the_peak_is_that_of_the_faster_of_product_and_convolution(
    product_s: float, convolution_s: float, rate: float
) -> None:
    """On a clock that the first round, which warms up, makes slow."""
    seconds = [9 * product_s, 9 * convolution_s, product_s, convolution_s]
    times = iter([t for i, s in enumerate(seconds) for t in (100.0 * i, 100.0 * i + s)])
    assert peak_flops(CPU, torch.float32, lambda: next(times), budget_s=0.0) == pytest.approx(rate)


def test_the_peak_is_looked_at_for_a_while() -> None:
    started = time.perf_counter()
    assert peak_flops(CPU, torch.float32, budget_s=0.1) > 1e6
    assert time.perf_counter() - started > 0.1
