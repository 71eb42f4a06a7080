"""python -m cluster logs JOB [--follow]: a job's log; followed, the exit code is that of its run."""

from argparse import ArgumentParser, Namespace

from cluster import jobs
from cluster.commands.submit import add_job, follow, write


def options(parser: ArgumentParser) -> None:
    """Which job, and how much."""
    add_job(parser)
    parser.add_argument("--follow", action="store_true", help="go on to the job's end; off by default")


def run(given: Namespace) -> int:
    """Print it; 0, or what the run exits with."""
    client = jobs.client_at(given.address)
    jobs.details_of(client, given.job)
    if given.follow:
        return follow(client, given.job)
    text = jobs.patiently(given.job, lambda: client.get_job_logs(given.job))
    write(text.rstrip("\n") + "\n")
    return 0
