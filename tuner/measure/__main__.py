"""What is the noise of this training? `python -m tuner.measure noise|critical|... workload=...`

Each measurement is a preset of fixed arms that runs like any other run (one run folder, the same
records, resume), and a report of what the records say.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces.registry import nearest
from trainables import FUNCTION_MEASUREMENTS, MEASUREMENTS
from tuner.config.presets import PRESETS
from tuner.config.schema import Config, ConfigError, RangeConfig, value_of
from tuner.run import exit_code, read_command, run_command

# Those that are no run of one preset.
OTHERS = {
    "functions": "explicit graduated optimization against other global methods",
    "theory": "the papers' formulas: decay rates, d_m, Algorithm 3, pictures; nothing is trained",
}
BATCHES = "spaces.lr_batch.batch0."
USAGE = """usage: python -m tuner.measure WHAT [key=value ...] [--write DIR] [--help]

Measure what the theory of gradient noise needs to know of your training.

{known}

  python -m tuner.measure noise workload=digits
  python -m tuner.measure noise workload=cifar10_resnet20 --write mine   # then:
  python -m tuner.run --config-dir mine workload=cifar10_resnet20_measured
  python -m tuner.measure functions functions=rastrigin,ackley dataset.path=10

  python -m tuner.measure sharpness preset=p1_sharpness_cpu   # a paper's, in small
  python -m tuner.measure theory a=17.2 epsilon=0.1 h3=0 h4=1

Keys are those of tuner.run (python -m tuner.run --help); resume=RUN reports on RUN again.
  python -m tuner.measure equivalence functions=sphere,rastrigin

  --write DIR   noise only: write the constants into DIR/workload/<workload>_measured.yaml
  functions=    functions and equivalence: names; all of functions
"""


def main(argv: list[str] | None = None, program: str = "python -m tuner.measure") -> int:
    """Run the command line; returns the exit code of `python -m tuner.run`."""
    words = list(sys.argv[1:] if argv is None else argv)
    return exit_code(lambda: _main(words, program))


def _main(words: list[str], program: str) -> int:
    from results.measurements import MEASUREMENTS as REPORTS
    from tuner.measure.reports import report, write_workload

    meanings = {name: measurement.meaning for name, measurement in REPORTS.items()} | OTHERS
    if words[:1] == ["theory"] and {"--help", "-h"} & {*words}:
        from tuner.measure.theory import usage

        print(f"usage: {program} theory [key=value ...]\n\n{usage()}")
        return 0
    if not words or "--help" in words or "-h" in words:
        listed = "\n".join(f"  {name:<9}  {meaning}" for name, meaning in meanings.items())
        print(USAGE.replace("{known}", listed))
        return 0 if words else 2
    what, *words = words
    if what not in meanings:
        listed = ", ".join(meanings)
        raise ConfigError(f"cannot measure {what!r}{nearest(what, meanings)} (known: {listed})")
    words, write = _take(words, "--write")
    if write is not None:
        if what != "noise":
            raise ConfigError(f"--write: only `noise` has something to write, not {what}")
        _check_writable(Path(write))
    on_functions = any(word.startswith("functions=") for word in words)
    if what == "functions" or (what == "equivalence" and on_functions):
        from tuner.measure.functions import measure_functions

        return measure_functions(words, what)
    if what == "theory":
        from tuner.measure.theory import measure_theory

        return measure_theory(words)
    command = read_command(words)
    names_run = {"resume", "preset"} & set(command.given)
    if not names_run:
        command = replace(command, given={**_preset(what), **command.given})

    def adjust(config: Config) -> None:
        if what == "exchange":
            _check_exchange(config)
        if what == "critical" and not names_run:
            _fit_batches(config)
        if what in (*MEASUREMENTS, *FUNCTION_MEASUREMENTS) and what not in config.measure:
            listed = ",".join([*config.measure, what])
            raise ConfigError(f"this run would not measure {what}; add 'measure=[{listed}]'")

    def summary(run_dir: Path) -> None:
        report(what, run_dir)
        if write is not None:
            print(f"written: {write_workload(run_dir, Path(write))}")

    return run_command(command, summary, f"{program} {what}", adjust)


def _preset(what: str) -> dict[str, Any]:
    """The preset of this measurement; one without measures along the recipe's own training."""
    name = f"measure_{what}"
    return {"preset": name} if name in PRESETS else {"preset": "measure_noise", "measure": [what]}


def _check_exchange(config: Config) -> None:
    """What could only fail after all trainings."""
    from results.measurements.exchange import MIN_SEEDS

    for key, least in {"confirm.seeds": MIN_SEEDS, "epochs": 4}.items():
        if (value := value_of(config, key)) < least:
            raise ConfigError(f"{key}={value}: an exchange experiment needs at least {least}")
    if warmup := config.warmup_epochs:
        raise ConfigError(f"warmup_epochs={warmup:g}: an exchange experiment has no warmup")


def _take(words: list[str], option: str) -> tuple[list[str], str | None]:
    """Split off an option with its value."""
    rest: list[str] = []
    value, queue = None, iter(words)
    for word in queue:
        if word == option or word.startswith(f"{option}="):
            _, equals, value = word.partition("=")
            value = value if equals else next(queue, "")
            if re.match(r"$|-|[\w.]+=", value):  # forgotten: the next option or key=value
                raise ConfigError(f"{option} needs a folder")
            value = os.path.expanduser(value)
        else:
            rest.append(word)
    return rest, value


def _check_writable(folder: Path) -> None:
    """Before hours of training, not after them; makes nothing."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(f"--write {folder}: {there} is not a folder one can write to")


def _fit_batches(config: Config) -> None:
    """Look for the critical batch among the powers of 2 that the training set holds."""
    from tuner.plan.checks import check_values, describe_data
    from tuner.plan.recipe import make_recipe

    if any(key == "space" or key.startswith(BATCHES) for key in config.given):
        return
    check_values(config)
    recipe = make_recipe(config, describe_data(config))
    largest = min(recipe.train_examples, recipe.batch_max or recipe.train_examples)
    batches = [float(2**k) for k in range(3, 14) if 2**k <= largest]
    config.spaces["lr_batch"]["batch0"] = RangeConfig(choices=batches)


if __name__ == "__main__":
    sys.exit(main())
