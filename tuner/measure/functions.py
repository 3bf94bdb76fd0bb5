"""What is measured on several known functions, a run for each: methods, or paths of SGD."""

from __future__ import annotations

import functools
import secrets
from dataclasses import replace
from pathlib import Path

import results
from results.measurements.functions import functions_table, solved
from results.records.segments import MANIFEST_NAME
from results.records.wall_time import now
from results.storage.place import BucketError, Place, is_remote
from search_spaces.registry import unknown_name
from trainables.functions.benchmark import FUNCTIONS
from tuner.config.compose import compose
from tuner.config.schema import ConfigError, refusing
from tuner.display.phrases import describe_path
from tuner.plan.checks import check_surroundings
from tuner.plan.plan import make_plan
from tuner.run import read_command, run_command, sharing_ray

# What is measured -> the preset that every function's run has.
DEFAULT_PRESETS = {"functions": "aaai_functions_cpu", "equivalence": "measure_equivalence"}
DEFAULT = ("rastrigin", "ackley", "griewank", "schaffer_f7")
GRADIENT_COST = 3  # evaluations; see trainables/functions/solvers.py
NAME_LENGTH = 40


def measure_functions(words: list[str], what: str = "functions") -> int:
    """Run the preset on every function, then print one table and draw one figure.

    With `name=` of an earlier call its runs are gone on with.

    Args:
        what: a key of DEFAULT_PRESETS.

    Returns:
        The largest exit code of the runs; later functions are not begun after an interrupt.

    Raises:
        ConfigError: an unknown function, or a mistake in the other words.
    """
    names, words = _functions(words)
    preset = (
        []
        if any(word.startswith("preset=") for word in words)
        else [f"preset={DEFAULT_PRESETS[what]}"]
    )
    # The mistakes in every run's words are found before the first one starts.
    plans = [make_plan(compose([*preset, *words, f"workload={name}"])) for name in names]
    config = plans[0].config
    stem = config.name or f"{what}-{now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    words = [word for word in words if not word.startswith("name=")]
    run_names = {name: f"{stem[:NAME_LENGTH]}-{name}" for name in names}
    folders = {name: f"{config.runs_dir.rstrip('/')}/{run_names[name]}" for name in names}
    begun = {name for name in names if _is_begun(folders[name])}
    for name in names:
        if name not in begun and not config.dry_run:
            check_surroundings(replace(config, name=run_names[name]), None)
    run_dirs: list[Path] = []
    worst = 0
    with sharing_ray():
        for place, name in enumerate(names, start=1):
            print(f"{name} ({place} of {len(names)})", flush=True)
            command = [*preset, *words, f"workload={name}", f"name={run_names[name]}"]
            if name in begun and not config.dry_run:
                command = [f"resume={folders[name]}"]
            code = run_command(read_command(command), run_dirs.append)
            worst = max(worst, code)
            if code >= 2:
                return code
    if run_dirs:  # none after a dry run
        (_report_paths if what == "equivalence" else _report)(run_dirs)
    return worst


def _is_begun(folder: str) -> bool:
    """True where a run lies in this folder, here or in a bucket."""
    if not is_remote(folder):
        return (Path(folder) / MANIFEST_NAME).exists()
    with refusing(kinds=(BucketError,)):
        return Place.parse(folder).stamp(MANIFEST_NAME) is not None


def _functions(words: list[str]) -> tuple[list[str], list[str]]:
    """The functions asked for, and the words that are keys of the runs."""
    rest = [word for word in words if not word.startswith("functions=")]
    asked = [word.partition("=")[2] for word in words if word.startswith("functions=")]
    for word in rest:
        if word.startswith(("workload=", "resume=", "-")):
            raise ConfigError(f"{word!r}: not with `functions`; name them in functions=")
    if not asked:
        return list(DEFAULT), rest
    names = [name.strip() for name in asked[-1].strip("[]").split(",")]
    if names == ["all"]:
        return list(FUNCTIONS), rest
    for name in names:
        if name not in FUNCTIONS:
            raise ConfigError(str(unknown_name("function", name, FUNCTIONS)))
    if len(set(names)) < len(names):
        raise ConfigError(f"functions={','.join(names)}: each may be named once")
    return names, rest


def _report_paths(run_dirs: list[Path]) -> None:
    from results.measurements.equivalence import equivalence_table, read_equivalence, verdict
    from results.plots.papers.equivalence import draw_equivalence
    from results.plots.style import save_figure

    arms = [arm for run_dir in run_dirs for arm in read_equivalence(results.load(run_dir))]
    print(f"\n{equivalence_table(arms).text()}" if arms else "nothing was measured")
    for line in verdict(arms) if arms else ():
        print(line)
    if finite := [arm for arm in arms if arm.gap is not None]:
        path = run_dirs[-1] / "plots" / "equivalence_functions.png"
        save_figure(functools.partial(draw_equivalence, finite), path)
        print(f"figure: {describe_path(path)}")
    print(describe_path(run_dirs[-1]))


def _report(run_dirs: list[Path]) -> None:
    from results.plots.papers.functions import draw_functions
    from results.plots.style import save_figure

    runs = [results.load(run_dir) for run_dir in run_dirs]
    table = solved(runs)
    recipe = next(iter(runs[0].manifests.values()))["recipe"]
    samples = recipe["epochs"] * recipe["train_examples"]
    note = (
        f"D = {recipe['dataset_path']}, {samples:,} gradients of {recipe['smoothing']} samples "
        f"or {GRADIENT_COST * samples:,} evaluations a start"
    )
    print(f"\n{note}; 95% Wilson intervals")
    if not table:
        print("no start of any method was finished")
        return
    print(functions_table(table).text())
    path = run_dirs[-1] / "plots" / "functions.png"
    save_figure(functools.partial(draw_functions, table, note), path)
    print(f"figure: {describe_path(path)}")
    print(describe_path(run_dirs[-1]))
