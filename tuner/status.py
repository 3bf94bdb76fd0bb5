"""How do runs stand? From their records alone: `gradtune status RUN`, or a cluster's jobs."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from rich.console import Console

import results
from results.options import as_options, truth_of
from results.reading import find_runs
from results.storage.place import BucketError
from tuner.config.schema import ConfigError, refusing, show
from tuner.display.phrases import describe_seconds
from tuner.display.standing import describe_run
from tuner.jobs.head import ENDED, Head, Job, find_address
from tuner.run import exit_code
from tuner.stop import make_parser

PROGRAM = "python -m tuner.status"
NUM_JOBS = 10  # told, of those that have ended


def main(argv: list[str] | None = None, program: str = PROGRAM) -> int:
    """Print how they stand; returns the exit code (0, 2 bad input)."""
    parser = make_parser(program, "Arms, best so far, time left, cost; from the records alone.")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run folders or globs")
    # Of a job that runs: its folder may not be there yet.
    parser.add_argument("--starting", help=argparse.SUPPRESS)
    words = list(sys.argv[1:] if argv is None else argv)

    def work() -> int:
        with refusing():
            args = parser.parse_args(as_options(words, parser))
        if args.runs and (args.address or args.job):
            raise ConfigError("status: name runs or address=, not both")
        if args.runs:
            with refusing(kinds=(ValueError, BucketError)):
                print_runs(args.runs, may_start=bool(truth_of("starting", args.starting)))
            return 0
        head = Head(find_address(args.address), is_open_accepted=args.auth == "disabled")
        return print_jobs(head, args.job)

    return exit_code(work)


def print_runs(paths: list[str], *, may_start: bool = False) -> None:
    """One screen for each run; may_start: none is no error, it has not written anything yet."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    try:
        found = find_runs(paths)
    except ValueError:
        if not may_start:
            raise
        print(f"{paths[0]}: is starting; nothing is recorded yet")
        return
    for number, run_dir in enumerate(found):
        if number:
            console.print()
        console.print(describe_run(results.load(run_dir)))


def print_jobs(head: Head, job: str | None) -> int:
    """A cluster's jobs, a line each; of the one that is named, or runs alone, how it stands."""
    if job is not None:
        jobs = [head.find(job)]
        print(describe_job(jobs[0]))
    else:
        ours = [found for found in head.jobs() if found.run]
        ended = [found for found in ours if found.status in ENDED]
        for found in ours:
            if found not in ended[NUM_JOBS:]:
                print(describe_job(found))
        if not ours:
            print("no job was submitted there with gradtune submit")
        jobs = [found for found in ours if found.status == "RUNNING"]
    if len(jobs) != 1 or jobs[0].run is None:
        return 0
    print()
    if Path(jobs[0].run).exists():
        print_runs([jobs[0].run], may_start=jobs[0].status not in ENDED)
        return 0
    return ask_cluster(head, jobs[0])


def describe_job(job: Job) -> str:
    """ "job x-3f: running for 2 min 05 s: gradtune run space=poly ..."."""
    now, words = time.time(), job.status.lower()
    if job.ended is not None:
        words += f" {describe_seconds(max(0.0, now - job.ended))} ago"
    elif job.begun is not None:
        words += f" for {describe_seconds(max(0.0, now - job.begun))}"
    return f"job {show(job.id)}: {words}: {show(job.command)}"  # as anybody may have named it


def ask_cluster(head: Head, job: Job) -> int:
    """Have the records read where they are, by a job that only looks; returns its exit code."""
    starting = [] if job.status in ENDED else ["starting=true"]
    command = shlex.join(["python", "-m", "tuner.status", str(job.run), *starting])
    looking = head.look(command, dict(job.runtime_env))
    try:
        return head.follow(looking)
    finally:
        head.forget(looking)


if __name__ == "__main__":
    sys.exit(main())
