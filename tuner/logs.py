"""What was printed? Of a run's trainings (`gradtune logs RUN [TRIAL]`), or of a cluster's job."""

from __future__ import annotations

import sys
from pathlib import Path

import results
from results.options import as_options, truth_of
from results.records.segments import LOGS
from results.run import Run, describe, find_trial
from results.storage.place import BucketError
from results.storage.twin import bring
from tuner.config.schema import ConfigError, refusing, show
from tuner.display.phrases import describe_path
from tuner.jobs.head import Head, find_address
from tuner.run import exit_code
from tuner.stop import make_parser
from tuner.submit import follow

PROGRAM = "python -m tuner.logs"


def main(argv: list[str] | None = None, program: str = PROGRAM) -> int:
    """Print logs; returns the exit code: 2 bad input, with follow=true the job's own."""
    parser = make_parser(program, "What a run's trainings, or a job on a cluster, printed.")
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run folder")
    parser.add_argument("trial", nargs="?", metavar="TRIAL", help="a trial_key or its beginning")
    parser.add_argument("--follow", metavar="true", help="of a job: print on until it ends")
    words = list(sys.argv[1:] if argv is None else argv)

    def work() -> int:
        with refusing():
            args = parser.parse_args(as_options(words, parser))
            goes_on = bool(truth_of("follow", args.follow))
        if args.run is not None and (args.address or args.job or args.follow):
            raise ConfigError("logs: name a run, or address=, job=, follow= of a job, not both")
        if args.run is not None:
            with refusing(kinds=(ValueError, BucketError)):
                return print_logs(results.load(args.run), args.trial)
        head = Head(find_address(args.address), is_open_accepted=args.auth == "disabled")
        job = head.find(args.job)
        if goes_on:
            return follow(head, job.id, job.again)
        print(head.printed(job.id), end="")
        return 0

    return exit_code(work)


def print_logs(run: Run, trial: str | None = None) -> int:
    """Of one training all of it; without one, the last line of each that printed something."""
    if len(run.dirs) != 1:
        raise ConfigError(f"logs: name one run; these are {len(run.dirs)}")
    (run_dir,) = run.dirs
    if trial is not None:
        key = str(find_trial(run, trial)["trial_key"])
        log = bring(run_dir, LOGS, [f"{key}.txt"]) / f"{key}.txt"
        if not log.exists():
            raise ConfigError(f"trial {key} has printed nothing ({describe_path(log)})")
        sys.stdout.write(_text(log))
        return 0
    printed = {path.stem: path for path in sorted(bring(run_dir, LOGS).glob("*.txt"))}
    for row in run.trials.to_pylist():
        if (path := printed.get(row["trial_key"])) is not None:
            lines = [line for line in _text(path).splitlines() if line.strip()]
            last = show(lines[-1]) if lines else "nothing"
            print(f"{row['trial_key']}  {describe(row)}, {row['status']}: {last}")
    if not printed:
        print(f"no training has printed anything ({describe_path(run_dir / LOGS)})")
    return 0


def _text(log: Path) -> str:
    """As it is, without what would move a terminal's cursor or ring its bell."""
    text = log.read_text(errors="replace")
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


if __name__ == "__main__":
    sys.exit(main())
