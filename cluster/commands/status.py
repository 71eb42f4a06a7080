"""python -m cluster status JOB: how a job is doing; the exit code is that of its run, 0 while it goes on."""

import time
from argparse import ArgumentParser, Namespace

from cluster import jobs
from cluster.commands.submit import add_job


def options(parser: ArgumentParser) -> None:
    """Which job."""
    add_job(parser)


def run(given: Namespace) -> int:
    """Print what is known of it, a line each."""
    client = jobs.client_at(given.address)
    details = jobs.details_of(client, given.job)
    code = jobs.exit_of(details)
    rows = {"job": given.job, "state": details.status.value.lower()}
    if details.start_time:
        rows["started"] = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(details.start_time / 1000))
        rows["seconds"] = f"{((details.end_time or time.time() * 1000) - details.start_time) / 1000:.0f}"
    rows |= details.metadata or {}
    rows["page"] = jobs.page_of(client, given.job)
    if code is not None:
        rows["exit code"] = str(code)
    width = max(map(len, rows))
    print("\n".join(f"{name:{width}}  {value}" for name, value in rows.items()))
    return code or 0
