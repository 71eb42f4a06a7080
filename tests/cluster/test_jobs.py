"""The job API's client beside a cluster that is not there."""

import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from ray.dashboard.modules.job.pydantic_models import JobDetails, JobType
from ray.job_submission import JobStatus

from cluster import jobs
from cluster.commands import stop
from cluster.stop import SAVED
from data_shards.exits import Refused


def details(status: str, code: int | None = None, **more: Any) -> JobDetails:
    return JobDetails(
        type=JobType.SUBMISSION, status=JobStatus(status), entrypoint="x", driver_exit_code=code, **more
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (details("PENDING"), None),
        (details("RUNNING"), None),
        (details("SUCCEEDED", 0), 0),
        (details("FAILED", 1), 1),
        (details("FAILED", 2), 2),
        (details("FAILED", 130), 130),
        (details("FAILED", -9), 1),
        (details("FAILED", 137), 1),
        (details("FAILED", message="Job entrypoint command failed with exit code 2, last"), 2),
        (details("FAILED", message="the head was lost"), 1),
        (details("STOPPED"), 130),
    ],
)
def test_exit_codes_are_those_of_the_run(found: JobDetails, expected: int | None) -> None:
    assert jobs.exit_of(found) == expected


class Api:
    """A job whose log comes in connections, each a list of parts; an error is raised in its place."""

    def __init__(self, connections: list[list[Any]], *states: JobDetails) -> None:
        self.connections, self.states = connections, list(states)
        self.stopped = False
        self.lost: list[Exception] = []

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        for part in self.connections.pop(0):
            if isinstance(part, Exception):
                raise part
            yield part

    def get_job_info(self, job: str) -> JobDetails:
        if self.lost:
            raise self.lost.pop(0)
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def get_job_logs(self, job: str) -> str:
        return "".join(self.connections[0])

    def get_address(self) -> str:
        return "http://h:1"

    def stop_job(self, job: str) -> bool:
        self.stopped = True
        return True


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_LOOK_S", 0.0)


def test_a_log_is_passed_on_once_though_the_connection_is_lost() -> None:
    connections: list[list[Any]] = [
        ["one\n", "tw", OSError("lost")],
        ["one\ntwo\n", RuntimeError("code 1006")],
        ["one\ntwo\nthree\n"],
    ]
    written: list[str] = []
    api: Any = Api(connections, details("FAILED", 2))
    assert jobs.follow(api, "j", written.append) == 2
    assert "".join(written) == "one\ntwo\nthree\n"


def test_a_cluster_that_is_gone_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_SILENCE_S", 0.0)
    api: Any = Api([[OSError("refused")]] * 9, details("RUNNING"))
    with pytest.raises(Refused, match=r"job j: no answer for 0 s \(refused\); it may go on"):
        jobs.follow(api, "j", print)


def test_an_address_where_nothing_answers_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://192.0.2.1:1")
    with socket.socket() as taken:  # bound, not listening
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for given in (f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"):  # wins over the environment
            with pytest.raises(
                ValueError, match=f"ray address http://127.0.0.1:{port}: nothing answers there"
            ):
                jobs.client_at(given)


def stop_job(api: Api, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    from data_shards.commands import Command

    monkeypatch.setattr(jobs, "client_at", lambda address: api)
    return Command("", stop.__name__).run(["j", *words])


GRACE = {"env_vars": {jobs.GRACE: "600"}}


def test_stop_waits_until_the_run_says_that_it_is_saved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running = details("RUNNING", runtime_env=GRACE)
    api = Api([["{}\n", f"{SAVED}\n"]], running, running, running, details("STOPPED"))
    assert stop_job(api, monkeypatch) == 0
    assert api.stopped
    assert "job j: saved and ended" in capsys.readouterr().err


def test_stop_tells_a_run_that_was_killed_from_one_that_had_nothing_to_save(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running = details("RUNNING", runtime_env=GRACE)
    with pytest.raises(Refused, match="ended without saying that it is saved"):
        stop_job(Api([["{}\n"]], running, details("STOPPED")), monkeypatch)
    assert stop_job(Api([["interrupted\n"]], running, details("STOPPED")), monkeypatch) == 0
    assert "nothing to save yet" in capsys.readouterr().err


def test_stop_does_not_ask_a_job_that_ray_would_kill_before_it_can_save(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = Api([[f"{SAVED}\n"]], details("RUNNING"), details("STOPPED"))
    with pytest.raises(ValueError, match=r"kills it 3 s after it is asked.*--unsaved"):
        stop_job(api, monkeypatch)
    assert not api.stopped
    assert stop_job(api, monkeypatch, "--unsaved") == 0


def test_a_job_that_has_ended_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api([[]], details("SUCCEEDED", 0))
    assert stop_job(api, monkeypatch) == 0
    assert not api.stopped


def test_a_lost_connection_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    api: Any = Api([[]], details("SUCCEEDED", 0))
    api.lost = [OSError("reset"), OSError("refused")]
    assert jobs.exit_of(jobs.details_of(api, "j")) == 0
    monkeypatch.setattr(jobs, "_SILENCE_S", -1.0)
    api.lost = [OSError("refused")]
    with pytest.raises(Refused, match=r"job j: no answer for -1 s \(refused\)"):
        jobs.details_of(api, "j")
    api.lost = [RuntimeError("Request failed with status code 404: Job j does not exist.")]
    with pytest.raises(ValueError, match=r"job j does not exist at http://h:1"):
        jobs.details_of(api, "j")
