"""Jobs: what the job API of a Ray cluster is asked, over HTTP, by whoever is outside of it."""

import asyncio
import os
import re
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import aiohttp

from data_shards.exits import Refused
from data_shards.mistake import UserError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

T = TypeVar("T")

GRACE = "RAY_JOB_STOP_WAIT_TIME_S"
"""Variable of a job: seconds between Ray's SIGTERM to its processes and SIGKILL; without it 3, too few for a save."""

INTERRUPTED = 130
_CODES = (0, 1, 2, INTERRUPTED)
_TALKATIVE = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
_REACH_S = 10.0
_SILENCE_S = 60.0  # for which a server that went away is asked again
_LOOK_S = 1.0


def client_at(address: str | None) -> "JobSubmissionClient":
    """The job API at an address; None = RAY_API_SERVER_ADDRESS or RAY_ADDRESS, or else a Ray on this machine.

    Raises:
        UserError: nothing answers there, or it does not let us in.
    """
    if address:  # as Ray would heed the environment before an argument
        os.environ["RAY_API_SERVER_ADDRESS"] = address if "://" in address else f"http://{address}"
    told = os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or ""
    _require_answer(told)
    import logging

    import requests
    from ray.exceptions import AuthenticationError, RayError
    from ray.job_submission import JobSubmissionClient

    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        return JobSubmissionClient(told or None)
    except AuthenticationError:
        raise UserError(
            f"ray address {told or 'of this machine'}: the cluster asks for a token; set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to its own"
        ) from None
    except (ConnectionError, RuntimeError, ValueError, RayError, requests.RequestException) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"ray address {told or 'of this machine'}: no job API answers there ({reason}); give --address "
            "http://HEAD:8265, the address of Ray's dashboard"
        ) from None


def details_of(client: "JobSubmissionClient", job: str) -> "JobDetails":
    """What Ray knows of a job; UserError where there is none, Refused where nobody answers."""
    return patiently(job, lambda: _info(client, job))


def patiently(job: str, call: Callable[[], T]) -> T:
    """What `call` asks the job API, repeated for a minute while connections to it fail; Refused after that."""
    since = time.monotonic()
    while True:
        try:
            return call()
        except OSError as error:  # all of requests' are
            if time.monotonic() - since > _SILENCE_S:
                raise _unanswered(job, error) from None
            time.sleep(_LOOK_S)


def exit_of(details: "JobDetails") -> int | None:
    """What the job's command has exited with, as one of ours; None = it has not ended."""
    status = details.status.value
    if status == "SUCCEEDED":
        return 0
    if status == "STOPPED":
        return INTERRUPTED
    if status != "FAILED":
        return None
    code = details.driver_exit_code
    if code is None and (said := re.search(r"exit code (-?\d+)", details.message or "")):
        code = int(said[1])
    return code if code in _CODES and code != 0 else 1


def variables_of(details: "JobDetails") -> dict[str, str]:
    """The environment that the job was given."""
    return dict((details.runtime_env or {}).get("env_vars") or {})


def follow(client: "JobSubmissionClient", job: str, write: Callable[[str], None]) -> int:
    """Pass on a job's log as it is written, from its beginning to its end; returns the job's exit code.

    Raises:
        Refused: the server has not answered for a minute.
    """
    written, silent_since = 0, None

    async def tail() -> None:
        nonlocal written, silent_since
        passed = 0
        async for text in client.tail_job_logs(job):
            silent_since = None
            # A second connection begins with the log's first line again.
            new = text[max(written - passed, 0) :]
            passed += len(text)
            written = max(written, passed)
            if new:
                write(new)

    while True:
        try:
            asyncio.run(tail())
            if (code := exit_of(client.get_job_info(job))) is not None:
                return code
            silent_since = None
        except (aiohttp.ClientError, OSError, RuntimeError) as error:  # the last is Ray's
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > _SILENCE_S:
                raise _unanswered(job, error) from None
        time.sleep(_LOOK_S)


def wait_for_end(
    client: "JobSubmissionClient", job: str, seconds: float, say: Callable[[float], None]
) -> int | None:
    """Wait until a job has ended; returns its exit code, None after `seconds`. `say` is told how long it has been."""
    since, said = time.monotonic(), 0.0
    while (code := exit_of(details_of(client, job))) is None:
        waited = time.monotonic() - since
        if waited > seconds:
            return None
        if waited - said >= 5:
            said = waited
            say(waited)
        time.sleep(_LOOK_S)
    return code


def page_of(client: Any, job: str) -> str:
    """The URL of the job's page in Ray's dashboard."""
    return f"{client.get_address()}/#/jobs/{job}"


def _unanswered(job: str, error: Exception) -> Refused:
    return Refused(f"job {job}: no answer for {_SILENCE_S:g} s ({error}); it may go on")


def _info(client: "JobSubmissionClient", job: str) -> "JobDetails":
    try:
        return client.get_job_info(job)
    except RuntimeError as error:
        if "404" in str(error) or "does not exist" in str(error):
            raise UserError(f"job {job} does not exist at {client.get_address()}") from None
        raise Refused(f"job {job}: {str(error).splitlines()[0]}") from None


def _require_answer(address: str) -> None:
    """UserError where nothing listens at an address; Ray itself would try for minutes."""
    if "://" not in address:
        found = re.fullmatch(r"(.+):(\d+)", address)
        host, port = (found[1], int(found[2])) if found else ("", 0)
    else:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or {"https": 443, "ray": 10001}.get(parts.scheme, 80)
    if not host:
        return  # "auto", or nothing
    try:
        socket.create_connection((host, port), _REACH_S).close()
    except OSError as error:
        raise UserError(
            f"ray address {address}: nothing answers there ({error}); give --address http://HEAD:8265, the address "
            "of Ray's dashboard"
        ) from None
