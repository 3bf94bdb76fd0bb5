"""The main command: `python -m tuner.run space=poly`. Validate, search, confirm, report."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.config.compose import compose
from tuner.config.schema import (
    Config,
    ConfigError,
    StorageError,
    check_text,
    plain,
    refusing_paths,
)
from tuner.config.words import parse_words
from tuner.config.yamltext import write_yaml
from tuner.display.streams import drop, settle

if TYPE_CHECKING:  # pyarrow
    from tuner.plan.plan import Plan

# Before anything is imported: Ray and Arrow read theirs once. Arrow's own allocator keeps what the
# rewritten segments have left.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

USAGE = """usage: python -m tuner.run [key=value ...] [--config-dir DIR] [--cfg] [--help]

Search the parameters of learning-rate and batch-size schedules, confirm the best on fresh
paired seeds, and keep everything as Parquet under runs/.

  python -m tuner.run space=poly                          one arm on the built-in digits
  python -m tuner.run 'space=[poly,cosine,exp]' trials=8  three arms, equal budgets
  python -m tuner.run workload=cifar10_resnet20 dataset.path=DIR epochs=30
  python -m tuner.run resume=runs/<id>                    go on after Ctrl-C or a crash
  python -m tuner.run space=poly dry_run=true             print the plan, train nothing

  --config-dir DIR   folder with your own space/, workload/, preset/ YAML files
  --cfg              print the configuration and stop
"""
PROGRAM = "python -m tuner.run"


def main(argv: list[str] | None = None, program: str = PROGRAM) -> int:
    """Run the command line; returns the exit code.

    0 ok, 1 some trials failed, 2 bad input, 4 storage lost, 128 + its number after a signal (130
    and 143 are Ctrl-C and SIGTERM).

    Args:
        program: what was typed before the words.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return exit_code(lambda: _main(words, program))


def exit_code(work: Callable[[], int]) -> int:
    """The exit code of this work, or of what ended it before anything started."""
    for number in range(3):  # a closed stream's number would go to the next file or socket
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:  # as Python says of one that was closed when it began; Ray does not
        sys.stdout = open(os.devnull, "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")
    if isinstance(sys.stdout, io.TextIOWrapper):  # what its encoding lacks: as its code
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return work()
    except ConfigError as error:
        from results.records.redaction import redact, visible  # pyarrow

        print(f"error: {redact(visible(str(error)))}", file=sys.stderr)
        return 2
    except StorageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 4
    except BrokenPipeError:  # e.g. `--help | head`
        drop(sys.stdout)
        return 0
    except KeyboardInterrupt as error:  # Interrupted, or Python's own for Ctrl-C
        with contextlib.suppress(OSError):  # the terminal may be what has ended
            print("\ninterrupted before anything started", file=sys.stderr, flush=True)
        return 128 + getattr(error, "number", signal.SIGINT)
    finally:
        settle()


def _main(words: list[str], program: str) -> int:
    if "--help" in words or "-h" in words:
        from tuner.config.help import describe_keys

        print(USAGE)
        print(describe_keys())
        return 0
    return run_command(read_command(words), program=program)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line, read.

    Attributes:
        words: as typed, with --config-dir. given: values by key (tuner/config/words.py).
        show: --cfg was typed.
    """

    words: list[str]
    given: dict[str, Any]
    config_dir: str | None
    show: bool


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be done: a new run; with `run_dir` and `stored`, an earlier one gone on with."""

    config: Config
    run_dir: Path | None = None
    stored: Plan | None = None

    def make_plan(self) -> Plan:
        """The plan: of the earlier run, or a new one (see `tuner.plan.plan.make_plan`)."""
        from tuner.plan.checks import tell_notes
        from tuner.plan.constants import describe_constants
        from tuner.plan.plan import make_plan

        with refusing_paths():
            plan = self.stored or make_plan(self.config)
        if not self.stored and (note := describe_constants(plan.config, plan.spaces)):
            print(f"note: {note}", file=sys.stderr)
        tell_notes(plan.source)
        return plan


def run_command(
    command: Command,
    summary: Callable[[Path], None] | None = None,
    program: str = PROGRAM,
    adjust: Callable[[Config], None] | None = None,
) -> int:
    """Validate and execute what a command line said; returns the exit code.

    Args:
        summary: see `execute`. program: what was typed before the words.
        adjust: changes or checks the composed configuration of a new run before it is planned.
    """
    request = make_request(command.given, command.config_dir)
    config = request.config
    if adjust is not None and request.run_dir is None:
        adjust(config)
    if command.show:
        from results.records.redaction import redact_all

        print(write_yaml(redact_all(plain(config), by_name=True)), end="")
        return 0
    from results.records.redaction import redact_word
    from tuner.plan.checks import check_surroundings
    from tuner.plan.usercode import check_import
    from tuner.session.execution import execute

    plan = request.make_plan()
    check_import(config, plan.handed)
    if config.dry_run:
        from tuner.session.dry_run import print_plan

        print_plan(plan, is_new=request.run_dir is None)
        return 0
    check_surroundings(config, request.run_dir)
    return execute(
        plan,
        program=program,
        command=shlex.join([*program.split(), *map(redact_word, command.words)]),
        resume=request.run_dir,
        summary=summary,
    )


@contextlib.contextmanager
def sharing_ray() -> Iterator[None]:
    """For several runs of one command: they use one Ray, which takes seconds to start."""
    from tuner.session import cluster

    with cluster.shared():
        yield


def make_request(
    given: Mapping[str, Any],
    config_dir: str | None = None,
    function: Callable[..., object] | None = None,
) -> Request:
    """What these values by key ask for: `resume` names an earlier run, else it is a new one.

    Args:
        config_dir, function: see `compose`.
    """
    with refusing_paths():
        return _request(given, config_dir, function)


def _request(
    given: Mapping[str, Any], config_dir: str | None, function: Callable[..., object] | None
) -> Request:
    rest = {key: value for key, value in given.items() if key != "resume"}
    target = given.get("resume")
    if target is None:
        if rest.get("code") == "accept":
            raise ConfigError("code=accept: has no effect; it needs resume=<run>")
        return Request(config=compose(rest, config_dir, function))
    if target == "":
        raise ConfigError("resume=: may not be empty")
    from tuner.session.resume import left_behind, resume_run

    plan, run_dir = resume_run(target, rest, config_dir, function)
    for line in left_behind(plan.config, run_dir):
        print(f"note: {line}", file=sys.stderr)
    return Request(config=plan.config, run_dir=run_dir, stored=plan)


def read_command(words: list[str]) -> Command:
    """The key=value words, each parsed once, and the options among them."""
    rest: list[str] = []
    config_dir, where, show = None, [], False
    queue = iter(words)
    for word in queue:
        if word == "--cfg":
            show = True
        elif word.startswith("--config-dir"):
            _, equals, value = word.partition("=")
            config_dir = value if equals else next(queue, None)
            if not config_dir:
                raise ConfigError("--config-dir needs a folder")
            check_text("--config-dir", config_dir)
            config_dir = os.path.expanduser(config_dir)
            where = ["--config-dir", config_dir]
        elif word.startswith("-"):
            raise ConfigError(f"unknown option {word!r} (known: --config-dir, --cfg, --help)")
        else:
            rest.append(word)
    given = parse_words(rest)
    return Command(words=[*rest, *where], given=given, config_dir=config_dir, show=show)


if __name__ == "__main__":
    sys.exit(main())
