"""Seeds, the environment of a lone process, and how a rank ends."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from trainer.process_group import environment, seed_draws


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
