"""Stop a job of a cluster in order: `gradtune stop address=http://head:8265 job=JOB`."""

from __future__ import annotations

import sys
import time

from results.options import Parser, as_options
from tuner.config.schema import ConfigError, show
from tuner.jobs.head import ENDED, Head, find_address
from tuner.jobs.shipment import STOP_SECONDS
from tuner.run import exit_code

PROGRAM = "python -m tuner.stop"
MAX_WORDS = 4000  # characters of a command that is to be pasted
MARGIN_SECONDS = 10.0  # after which Ray should have killed it


def main(argv: list[str] | None = None, program: str = PROGRAM) -> int:
    """Stop a job; returns the exit code: 0 stopped, or ended before; 2 bad input."""
    parser = make_parser(program)
    words = list(sys.argv[1:] if argv is None else argv)

    def work() -> int:
        try:
            args = parser.parse_args(as_options(words, parser))
        except ValueError as error:
            raise ConfigError(str(error)) from None
        head = Head(find_address(args.address), is_open_accepted=args.auth == "disabled")
        return stop_job(head, args.job)

    return exit_code(work)


def make_parser(program: str, description: str | None = None) -> Parser:
    """The options of every command that speaks of a job."""
    parser = Parser(prog=program, description=description or "Stop a job; everything is kept.")
    parser.add_argument("--address", metavar="URL", help="the head's dashboard")
    parser.add_argument("--job", help="its id or the beginning; default: the newest")
    parser.add_argument(
        "--cluster.auth",
        dest="auth",
        choices=("token", "disabled"),
        help="disabled = talk also to a cluster that asks nobody for a token",
    )
    return parser


def stop_job(head: Head, job: str | None) -> int:
    """Ask it to stop and wait until it has; returns the exit code."""
    found = head.find(job)
    status = found.status
    if status in ENDED:
        print(f"job {found.id} has ended already ({status.lower()})")
        return 0
    head.stop(found.id)
    deadline = time.monotonic() + STOP_SECONDS + MARGIN_SECONDS
    while (status := head.status(found.id)) not in ENDED and time.monotonic() < deadline:
        time.sleep(0.3)
    if status not in ENDED:
        print(f"error: job {found.id} was asked to stop and is still {status}", file=sys.stderr)
        return 1
    if status == "SUCCEEDED":
        print(f"job {found.id} has ended by itself meanwhile (succeeded)")
        return 0
    words = f"gradtune submit address={head.address} {show(found.again, most=MAX_WORDS)}"
    has_begun = found.status != "PENDING"  # else there may be no run to go on with
    back = f" Go on with: {words}" if found.again and has_begun else ""
    print(f"job {found.id} is stopped; everything finished is kept.{back}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
