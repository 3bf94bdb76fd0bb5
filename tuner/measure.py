"""What is the noise of this training? `python -m tuner.measure noise|critical|... workload=...`

Each measurement is a preset of fixed arms that runs like any other run (one run folder, the same
records, resume), and a report of what the records say.
"""

from __future__ import annotations

import sys
from pathlib import Path

USAGE = """usage: python -m tuner.measure WHAT [key=value ...] [--write DIR] [--help]

Measure what the theory of gradient noise needs to know of your training.

  noise      C^2 and K along the recipe's training, with intervals
  critical   the papers' critical batch size b* and the bound of C^2 that follows from it
  sampling   distribution of the gradient noise at one point (several batch sizes)
  exchange   doubling the batch equals dividing lr by 2^a: a, with an interval
  sharpness  worst-case sharpness over lr x batch
  functions  explicit graduated optimization against other global methods

  python -m tuner.measure noise workload=digits
  python -m tuner.measure noise workload=cifar10_resnet20 --write mine   # then:
  python -m tuner.run --config-dir mine workload=cifar10_resnet20_measured
  python -m tuner.measure functions functions=rastrigin,ackley dataset.path=10

  python -m tuner.measure sharpness preset=p1_sharpness_cpu   # a paper's, in small

Keys are those of tuner.run (python -m tuner.run --help); resume=RUN reports on RUN again.
  --write DIR   noise only: write the constants into DIR/workload/<workload>_measured.yaml
  functions=    functions only: names, or all
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code of `python -m tuner.run`."""
    from tuner.config import ConfigError

    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _main(words)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted before anything started", file=sys.stderr)
        return 130


def _main(words: list[str]) -> int:
    from search_spaces.registry import nearest
    from tuner.config import ConfigError
    from tuner.measure_reports import MEASURES
    from tuner.run import run_words

    if not words or "--help" in words or "-h" in words:
        print(USAGE)
        return 0 if words else 2
    what, *words = words
    if what not in (*MEASURES, "functions"):
        known = ", ".join((*MEASURES, "functions"))
        raise ConfigError(f"cannot measure {what!r}{nearest(what, MEASURES)} (known: {known})")
    words, write = _take(words, "--write")
    if write is not None and what != "noise":
        raise ConfigError(f"--write: only `noise` has something to write, not {what}")
    if what == "functions":
        from tuner.measure_functions import measure_functions

        return measure_functions(words)
    measure = MEASURES[what]
    if not any(word.startswith(("resume=", "preset=")) for word in words):
        words = [f"preset={measure.preset}", *words]
        if what == "critical":
            words += _fitting_batches(words)

    def report(run_dir: Path) -> None:
        measure.report(run_dir)
        if write is not None:
            from tuner.measure_reports import write_workload

            print(f"written: {write_workload(run_dir, Path(write))}")

    return run_words(words, report)


def _take(words: list[str], option: str) -> tuple[list[str], str | None]:
    """Split off an option with its value."""
    from tuner.config import ConfigError

    rest, value, queue = [], None, iter(words)
    for word in queue:
        if word == option or word.startswith(f"{option}="):
            value = word.partition("=")[2] or next(queue, None)
            if not value:
                raise ConfigError(f"{option} needs a folder")
        else:
            rest.append(word)
    return rest, value


def _fitting_batches(words: list[str]) -> list[str]:
    """The critical batch is looked for among the powers of 2 that the training set holds."""
    from tuner.plan import make_plan
    from tuner.resume import compose_run

    key = "spaces.lr_batch.batch0.choices"
    if any(word.startswith(key) for word in words) or "--cfg" in words:
        return []
    probe = [word for word in words if not word.startswith("--")]
    plan = make_plan(compose_run([*probe, f"{key}=[1]"], None).config)
    batches = [2**k for k in range(3, 14) if 2**k <= plan.recipe.train_examples]
    return [f"{key}=[{','.join(map(str, batches))}]"]


if __name__ == "__main__":
    sys.exit(main())
