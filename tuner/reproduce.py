"""Does a recorded training come out the same again? `python -m tuner.reproduce RUN TRIAL`.

It is trained once more, and along the same table, and compared bit for bit with
what was recorded of it; the run folder is only read. Code and data are taken as a resume does.
"""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.failures import FunctionError
from tuner.config.schema import ConfigError, refusing
from tuner.run import exit_code, read_command
from tuner.session.cluster import set_environment

if TYPE_CHECKING:  # torch
    from trainables.training import Training

USAGE = """usage: python -m tuner.reproduce RUN TRIAL [key=value ...]

Train one trial of a run again and compare every epoch and the outcome bit for bit with its
record. TRIAL is a trial_key or its beginning. Exit code 0: all the same, 1: not.

  python -m tuner.reproduce runs/<id> 3f9c01
  python -m tuner.reproduce runs/<id> 3f9c01 trainable=mine:train    names code of yours again
  python -m tuner.reproduce runs/<id> 3f9c01 dataset.path=DIR        the data lie elsewhere now
  python -m tuner.reproduce runs/<id> 3f9c01 code=accept ...         your code is not as it was
"""
PROGRAM = "python -m tuner.reproduce"
SAME, DIFFERENT = 0, 1
# Not decided by the training: names of the machine and of the run, and whatever a clock tells.
INCIDENTAL = ("run_id", "attempt", "device")
CLOCKED = (b"s", b"samples/s", b"bytes")  # units of columns
MAX_SHOWN = 5  # columns of one epoch


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A number that did not come out the same. epoch: None = of the outcome."""

    epoch: int | None
    column: str
    recorded: object
    now: object


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What training again showed.

    Attributes:
        trial: in words. num_epochs: compared; has_outcome: the outcome was compared too.
        differences: in the order of the training. surroundings: what is not as it was: versions,
            hardware, revision; name -> (then, now).
        error: how the training ended where it did not reach the last recorded epoch, or "".
    """

    trial: str
    num_epochs: int
    has_outcome: bool
    differences: tuple[Difference, ...]
    surroundings: Mapping[str, tuple[str, str]]
    error: str = ""

    @property
    def is_same(self) -> bool:
        """True where everything recorded came out again, bit for bit."""
        return not self.differences and not self.error

    def lines(self) -> list[str]:
        """What to say about it."""
        what = f"{self.num_epochs} epochs{' and the outcome' if self.has_outcome else ''}"
        lines = [f"reproduced: {self.trial}: {what} are the same bit for bit"]
        if self.error:
            lines = [f"not reproduced: {self.trial}: {self.error}"]
        elif self.differences:
            lines = [f"not reproduced: {self.trial}: {self._first()}"]
        for name, (then, now) in self.surroundings.items():
            lines.append(f"  {name}: {then} then, {now} now")
        if not self.is_same and not self.surroundings:
            lines.append("  versions, hardware and revision are as they were")
        return lines

    def _first(self) -> str:
        first = self.differences[0]
        here = [d for d in self.differences if d.epoch == first.epoch]
        numbers = ", ".join(
            f"{d.column} {d.recorded!r} then, {d.now!r} now" for d in here[:MAX_SHOWN]
        )
        more = f" and {len(here) - MAX_SHOWN} more" if len(here) > MAX_SHOWN else ""
        where = "the outcome" if first.epoch is None else f"epoch {first.epoch}"
        return f"{where} differs first ({numbers}{more})"


def main(argv: list[str] | None = None, program: str = PROGRAM) -> int:
    """Run the command line; 0 the same, 1 not, 2 bad input."""
    words = list(sys.argv[1:] if argv is None else argv)
    return exit_code(lambda: _main(words, program))


def _main(words: list[str], program: str) -> int:
    if "--help" in words or "-h" in words:
        print(USAGE.replace(PROGRAM, program), end="")
        return SAME
    names = [word for word in words[:2] if not Path(word).is_dir()]  # a folder may be named a=b
    if len(words) < 2 or any("=" in word or word.startswith("-") for word in names):
        raise ConfigError(f"name a run and a trial: {program} RUN TRIAL")
    command = read_command(words[2:])
    reproduction = reproduce(words[0], words[1], command.given, config_dir=command.config_dir)
    print(*reproduction.lines(), sep="\n")
    return SAME if reproduction.is_same else DIFFERENT


def reproduce(
    run_dir: str | Path,
    trial_key: str,
    given: Mapping[str, Any] | None = None,
    *,
    config_dir: str | None = None,
    trainable: Callable[..., object] | None = None,
) -> Reproduction:
    """Train this trial again and compare.

    Args:
        trial_key: or its beginning.
        given: code of yours, named again, and `dataset.path`, by key; config_dir: see `compose`.
        trainable: a function of a script or notebook, where the run was searched with one.

    Raises:
        ConfigError: no such run or trial, nothing recorded of it, other code or data than then,
            or no such device here.
    """
    from results import load
    from results.run import describe, find_trial
    from results.storage.place import is_remote
    from search_spaces.records import MEASURED
    from tuner.plan.usercode import changed_parts

    if is_remote(run_dir):
        with refusing(kinds=(ValueError, OSError)):
            run_dir = load(run_dir).dirs[0]
    plan = _plan(str(run_dir), given or {}, config_dir, trainable)
    run = load(run_dir)
    if len(run.dirs) > 1:
        raise ConfigError(f"name one run, but {str(run_dir)!r} holds {len(run.dirs)}")
    try:
        row = find_trial(run, trial_key)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    recorded = run.epochs_by_trial().get((row["run_id"], row["trial_key"]), [])
    if not recorded:
        raise ConfigError(
            f"trial {row['trial_key']}: no epoch of it is recorded ({row['status']})"
        )
    manifest = run.manifests[row["run_id"]]
    last = max(epoch["epoch"] for epoch in recorded)
    has_outcome = row["status"] in MEASURED
    training = _training(row, plan, manifest, trainable)
    ending = _train(training, last)
    differences = [] if ending else _epoch_differences(recorded, row, training)
    if has_outcome and not ending:
        differences += _outcome_differences(row, training)
    surroundings = _surroundings(row, manifest)
    if changed := changed_parts(plan.config, manifest):
        surroundings["your code"] = "as recorded", f"changed ({', '.join(changed)})"
    return Reproduction(
        trial=f"{describe(row)} ({row['trial_key']})",
        num_epochs=len(recorded),
        has_outcome=has_outcome,
        differences=tuple(differences),
        surroundings=surroundings,
        error=ending,
    )


def _plan(
    target: str,
    given: Mapping[str, Any],
    config_dir: str | None,
    trainable: Callable[..., object] | None,
) -> Any:
    """The run's plan, by the rules of resuming: nothing but its own code, on its own data."""
    from tuner.session.resume import REPEATABLE, resume_run

    allowed = (*(key.removesuffix(".name") for key in REPEATABLE), *REPEATABLE)
    for key in given:
        if key not in (*allowed, "space", "dataset.path", "code"):
            raise ConfigError(f"{key}: a trial is trained as it was (allowed: dataset.path, and "
                              "names of code of yours)")  # fmt: skip
    try:
        plan, _ = resume_run(target, given, config_dir, trainable)
    except ConfigError as error:
        sentence = str(error).replace(f"resume={target}", target).removeprefix("resume: ")
        sentence = sentence.replace(
            "goes on with it, and the verdict says so", "trains with it anyway"
        )
        raise ConfigError(sentence) from None
    return plan


def _training(
    row: Mapping[str, Any],
    plan: Any,
    manifest: Mapping[str, Any],
    trainable: Callable[..., object] | None,
) -> Training:
    """The training at its start, as the plan makes it, on the kind of device that it ran on."""
    from search_spaces.registry import lookup
    from trainables import TRAINERS
    from trainables.training import pick_device

    try:
        trial = plan.recorded(row)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    device = "cuda" if (manifest.get("slots") or {}).get("gpus_per_trial") else "cpu"
    if device == "cuda" and pick_device() != "cuda":
        raise ConfigError(f"it was trained on {row['device']}: there is no GPU here")
    options = {}
    if trainable is not None:
        set_environment()  # before ray is imported
        from trainables.trainable import pickled
        from trainables.user.handed import lay_out

        options = {"trainable": lay_out(pickled(trainable))}
    make = lookup("trainer", trial.recipe.trainer, TRAINERS)
    training: Training = make(trial, device=device, **options)
    return training


def _train(training: Training, num_epochs: int) -> str:
    """Train so many epochs; how it ended where it did not get there, else ""."""
    try:
        while len(training.records) < num_epochs and not training.finished:
            training.run_epoch()
    except FunctionError as error:
        return f"epoch {len(training.records) + 1} raised {error.line}"
    except Exception as error:  # of the user's own code
        first_line = next(iter(str(error).strip().splitlines()), "")
        return f"epoch {len(training.records) + 1} raised {type(error).__name__}: {first_line}"
    done = len(training.records)
    return "" if done >= num_epochs else f"it ended after {done} of {num_epochs} recorded epochs"


def _epoch_differences(
    recorded: list[dict[str, Any]], row: Mapping[str, Any], training: Training
) -> list[Difference]:
    from results.records.schema import EPOCHS, epoch_row, trial_from_row
    from results.records.segments import to_batch

    trial = trial_from_row(row)
    differences = []
    for then in sorted(recorded, key=lambda epoch: int(epoch["epoch"])):
        record = training.records[then["epoch"] - 1]
        again = epoch_row(row["run_id"], trial, then["attempt"], record)
        now = to_batch([again], EPOCHS).to_pylist()[0]  # as it would be read again
        differences += _differing(then, now, EPOCHS, then["epoch"])
    return differences


def _outcome_differences(row: Mapping[str, Any], training: Training) -> list[Difference]:
    from results.records.schema import TRIALS, trial_from_row, trial_row
    from results.records.segments import to_batch
    from results.records.wall_time import now

    if not training.finished:
        return [Difference(epoch=None, column="status", recorded=row["status"], now="running")]
    outcome = training.outcome()
    again = trial_row(
        row["run_id"],
        trial_from_row(row),
        status=outcome.status,
        attempt=row["attempt"],
        outcome=outcome,
        epochs_done=len(training.records),
        host=row["host"],
        started_at=row["started_at"] or now(),
        ended_at=row["ended_at"],
        error=row["error"],
    )
    return _differing(row, to_batch([again], TRIALS).to_pylist()[0], TRIALS, None)


def _differing(
    then: Mapping[str, Any], now: Mapping[str, Any], schema: Any, epoch: int | None
) -> list[Difference]:
    """Columns that differ; nan equals nan, and a column that came after the record is no claim."""
    from results.records.schema import LATER_COLUMNS

    return [
        Difference(epoch=epoch, column=name, recorded=then[name], now=value)
        for name, value in now.items()
        if name not in INCIDENTAL
        and schema.field(name).metadata[b"unit"] not in CLOCKED
        and not (then[name] is None and name in LATER_COLUMNS)
        and not _is_equal(then[name], value)
    ]


def _is_equal(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):  # metrics by name
        return len(a) == len(b) and all(map(_is_equal, a, b))
    return a == b


def _surroundings(
    row: Mapping[str, Any], manifest: Mapping[str, Any]
) -> dict[str, tuple[str, str]]:
    """What may explain a difference, where it is not as it was."""
    from tuner.version import changed_versions

    hardware = manifest.get("hardware") or {}
    pairs = {
        "machine": (str(hardware.get("machine")), platform.machine()),
        "host": (str(row["host"]), platform.node()),
    }
    differing = {name: both for name, both in pairs.items() if both[0] != both[1]}
    return changed_versions(manifest) | differing


if __name__ == "__main__":
    sys.exit(main())
