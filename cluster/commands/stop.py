"""python -m cluster stop JOB: ask a job's run to save and end, as Ctrl-C does, and wait for it.

Ray asks the job by SIGTERM and kills what is left after the grace that `submit` has given it. A job that was started by
`ray job submit` has 3 seconds, unless its runtime_env says more: {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "600"}}.
"""

from argparse import ArgumentParser, Namespace

from cluster import jobs
from cluster.commands.submit import add_job
from cluster.stop import SAVED
from data_shards.exits import Refused, say
from data_shards.mistake import UserError

_KILLED_S = 30.0  # from the end of the grace until Ray tells that the job has ended
_LINES = 40  # of the log's end, where a run says that it is saved


def options(parser: ArgumentParser) -> None:
    """Which job."""
    add_job(parser)
    parser.add_argument(
        "--unsaved",
        action="store_true",
        help="stop also a job that Ray kills before it can save; off by default",
    )


def run(given: Namespace) -> int:
    """Stop; 0 if the run is saved, or had nothing to save or has ended before; 1 if it was killed."""
    client, job = jobs.client_at(given.address), given.job
    details = jobs.details_of(client, job)
    if (code := jobs.exit_of(details)) is not None:
        say(f"job {job} has ended already: exit code {code}")
        return 0
    grace = jobs.variables_of(details).get(jobs.GRACE)
    if grace is None and not given.unsaved:
        raise UserError(
            f"job {job} was not started by `python -m cluster submit`, and Ray kills it 3 s after it is asked, before "
            f"it can save; give --unsaved to lose what it did since its last checkpoint"
        )
    bound = float(grace or 3)
    jobs.patiently(job, lambda: client.stop_job(job))
    say(f"job {job}: asked to save and end")
    ended = jobs.wait_for_end(
        client,
        job,
        bound + _KILLED_S,
        lambda waited: say(
            f"job {job}: waiting for its last checkpoint, {waited:.0f} of at most {bound:g} s"
        ),
    )
    if ended is None:
        raise Refused(
            f"job {job} has not ended {bound + _KILLED_S:g} s after it was asked; its cluster is in trouble"
        )
    last = jobs.patiently(job, lambda: client.get_job_logs(job)).splitlines()[-_LINES:]
    if SAVED in last:
        say(f"job {job}: saved and ended")
    elif "interrupted" in last:
        say(f"job {job}: ended, it had nothing to save yet")
    else:
        raise Refused(f"job {job}: ended without saying that it is saved; see python -m cluster logs {job}")
    return 0
