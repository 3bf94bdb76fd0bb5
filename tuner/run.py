"""The main command: `python -m tuner.run space=poly`. Validate, search, confirm, report."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

# Before anything is imported: no output of Hydra's, Ray's or matplotlib's own.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

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


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (DESIGN.md: 0, 1, 2, 4, 130, 143)."""
    from tuner.config.schema import ConfigError

    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return run_words(words)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # e.g. `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\ninterrupted before anything started", file=sys.stderr)
        return 130


def run_words(
    words: list[str],
    summary: Callable[[Path], None] | None = None,
    program: str = "python -m tuner.run",
) -> int:
    """Validate and execute key=value words and options; returns the exit code.

    Args:
        summary: see `execute`. program: what was typed before the words.

    Raises:
        ConfigError: a mistake in the words.
    """
    if "--help" in words or "-h" in words:
        from tuner.config.help import describe_keys

        print(USAGE)
        print(describe_keys())
        return 0
    words, config_dir, show = split_options(words)
    from tuner.session.resume import compose_run

    request = compose_run(words, config_dir)
    if show:
        from tuner.session.resume import config_yaml

        print(config_yaml(request.config), end="")
        return 0
    from tuner.plan.checks import check_surroundings
    from tuner.plan.plan import make_plan
    from tuner.plan.usercode import check_import

    plan = make_plan(request.config) if request.plan is None else request.plan
    check_import(request.config)
    if request.config.dry_run:
        from tuner.session.dry_run import print_plan

        print_plan(plan)
        return 0
    check_surroundings(request.config, request.run_dir)
    from tuner.plan.usercode import foreign_names
    from tuner.session.session import execute

    names = [f" {key}={name}" for key, name in foreign_names(request.config).items()]
    return execute(
        plan,
        command=" ".join([program, *words]),
        resume=request.run_dir,
        summary=summary,
        again=f"{program} resume={{}}{''.join(names)}",
    )


def split_options(words: list[str]) -> tuple[list[str], str | None, bool]:
    """The key=value words, the folder of --config-dir, and whether --cfg is among them.

    Raises:
        ConfigError: another option, or --config-dir without a folder.
    """
    from tuner.config.schema import ConfigError

    rest: list[str] = []
    config_dir, show = None, False
    queue = iter(words)
    for word in queue:
        if word == "--cfg":
            show = True
        elif word.startswith("--config-dir"):
            _, equals, value = word.partition("=")
            config_dir = value if equals else next(queue, None)
            if not config_dir:
                raise ConfigError("--config-dir needs a folder")
        elif word.startswith("-"):
            raise ConfigError(f"unknown option {word!r} (known: --config-dir, --cfg, --help)")
        else:
            rest.append(word)
    return rest, config_dir, show


if __name__ == "__main__":
    sys.exit(main())
