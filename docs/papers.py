"""Runs what docs/papers.md reports, into runs/papers, and copies its figures to docs/images.

`python docs/papers.py` (or `make papers`) takes 40 minutes on two CPUs (docs/papers.md);
with names (`python docs/papers.py p1_schedules exchange`) only these, with key=value words
(`... p1_methods epochs=2 dry_run=true`) these in another form. Two parts run at a time, each on
half of the cores (`--lanes 1`: one after the other, with all): starting, drawing and the searches
of scipy keep one core busy at most. A part's output comes when it has ended, with its time, and
lies in runs/papers/NAME.txt. Runs that exist are gone on with.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

RUNS = Path("runs/papers")
IMAGES = Path(__file__).parent / "images"

EXCHANGE = ("tuner.measure", "exchange", "search.share_prefix=true")  # the first half once a seed
# Name of the run -> command without `python -m`, and the figures shown in docs/papers.md. The
# longest come first, so that the lanes end together.
COMMANDS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "functions": (
        [
            *("tuner.measure", "functions", "functions=all"),
            "space=[poly,geometric,gradient_descent,random_restarts,dual_annealing]",
        ],
        (),
    ),
    "p1_critical": (["tuner.measure", "critical", "preset=p1_critical_cpu"], ("critical",)),
    "p1_sharpness": (["tuner.measure", "sharpness", "preset=p1_sharpness_cpu"], ("sharpness",)),
    "p1_schedules": (
        [
            *("tuner.measure", "noise", "preset=p1_schedules_cpu", "measure=[noise]"),
            *("noise.every=3", "noise.pairs=8"),
        ],
        ("published", "decay_rates", "realised"),
    ),
    "exchange": ([*EXCHANGE], ("exchange",)),
    "exchange_sgd": (
        [
            *EXCHANGE,
            *("optimizer.momentum=0", "optimizer.nesterov=false"),
            *("optimizer.weight_decay=0", "lr=0.1"),
        ],
        (),
    ),
    "aaai_algorithm6": (["tuner.run", "preset=aaai_algorithm6_cpu"], ("differences",)),
    "aaai_explicit": (["tuner.run", "preset=aaai_explicit_cpu"], ()),
    "aaai_shb": (["tuner.run", "preset=aaai_shb_cpu"], ()),
    "aaai_nshb": (["tuner.run", "preset=aaai_nshb_cpu"], ()),
    "equivalence": (
        [
            *("tuner.measure", "equivalence"),
            "functions=sphere,ellipsoid,rastrigin,griewank,rosenbrock",
        ],
        (),
    ),
    "p1_methods": (["tuner.run", "preset=p1_methods_cpu"], ("schedules",)),
    "p1_noise": (["tuner.measure", "sampling", "preset=p1_noise_cpu"], ("sampling",)),
    "noise": (["tuner.measure", "noise"], ("noise",)),
    "implicit": (
        [
            *("tuner.measure", "functions", "preset=measure_implicit"),
            "functions=rastrigin,ackley,griewank",
        ],
        (),
    ),
    "theory": (["tuner.measure", "theory", "a=3,17.2"], ("radius_factor", "graduated", "nice")),
}
# Those that are several runs -> the picture of all that docs/papers.md shows.
SEVERAL = {"functions": "functions", "implicit": "", "equivalence": "equivalence_functions"}
# Arm that the tables of docs/papers.md compare with.
REFERENCES = {
    "p1_schedules": "poly p=1",
    "p1_methods": "lr",
    "aaai_explicit": "poly",
    "aaai_shb": "poly p=1",
    "aaai_nshb": "poly p=1",
    "aaai_algorithm6": "constant",
}


def main() -> int:
    """Run the named ones, or all; a dry run prints the plans alone. 1 where a part has failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="names, and key=value for every command")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the runs")
    parser.add_argument("--lanes", type=int, default=2, help="parts that run at a time")
    options = parser.parse_intermixed_args()
    names = [word for word in options.words if "=" not in word] or list(COMMANDS)
    if unknown := [name for name in names if name not in COMMANDS]:
        parser.error(f"no part {', '.join(unknown)} (known: {', '.join(COMMANDS)})")
    options.more = [word for word in options.words if "=" in word]
    options.runs.mkdir(parents=True, exist_ok=True)
    failed = run_parts(names, options)
    if failed:
        print(f"failed: {', '.join(failed)}; the same command goes on with them")
    return int(bool(failed))


def run_parts(names: list[str], options: argparse.Namespace) -> list[str]:
    """Run them in lanes, telling of each when it ends; those that failed."""
    start, failed = time.monotonic(), []
    lanes = ThreadPoolExecutor(options.lanes)
    try:
        parts = {lanes.submit(run_part, name, options): name for name in names}
        for number, part in enumerate(as_completed(parts), start=1):
            name, (code, seconds) = parts[part], part.result()
            print(log_of(name, options).read_text(encoding="utf-8"))
            how = "done" if code == 0 else f"FAILED (code {code})"
            total = clock(time.monotonic() - start)
            told = f"[{number}/{len(names)}] {name}: {how} in {clock(seconds)}"
            print(f"{told}, {total} since the start", flush=True)
            failed += [name] if code else []
    finally:
        lanes.shutdown(cancel_futures=True)  # after Ctrl-C, which stops those that run
    return failed


def run_part(name: str, options: argparse.Namespace) -> tuple[int, float]:
    """Run and compare one part, its output into its log; the first code that is not 0, seconds."""
    print(f"{name} ...", flush=True)
    start = time.monotonic()
    with log_of(name, options).open("w", encoding="utf-8") as log:
        for words in commands_of(name, options):
            print("$ python -m " + " ".join(words), file=log, flush=True)
            python = [sys.executable, "-m", *words]
            code = subprocess.run(python, stdout=log, stderr=subprocess.STDOUT).returncode
            if code:
                return code, time.monotonic() - start
    if "dry_run=true" not in options.more:
        copy_pictures(name, options)
    return 0, time.monotonic() - start


def commands_of(name: str, options: argparse.Namespace) -> list[list[str]]:
    """What is typed, one after the other, without `python -m`."""
    command, _ = COMMANDS[name]
    run_dir = options.runs / name
    if name == "theory":  # no run: nothing is trained, and other keys are not its own
        return [[*command, f"out={run_dir}"]]
    share = max(1, (os.cpu_count() or 1) // options.lanes)
    lane = [f"max_concurrent={share}", "report=false"][options.lanes == 1 :]
    lane += ["resources.cpus_per_trial=1"]  # a lone training would take the other lane's cores too
    typed = {word.partition("=")[0] for word in options.more}
    lane = [word for word in lane if word.partition("=")[0] not in typed]
    run = [*command, *lane, f"runs_dir={options.runs}", f"name={name}", *options.more]
    if (run_dir / "manifest.json").exists():
        run = [*(word for word in command[:2] if "=" not in word), f"resume={run_dir}"]
    if "dry_run=true" in options.more or name in SEVERAL:
        return [run]
    compare = ["results", "compare", str(run_dir)]
    drawn = [] if command[0] == "tuner.measure" else [compare]  # a measurement draws its figures
    reference = [[*compare, "--reference", REFERENCES[name]]] if name in REFERENCES else []
    return [run, *drawn, *reference]


def copy_pictures(name: str, options: argparse.Namespace) -> None:
    """The figures of docs/papers.md, from the run's folder."""
    run_dir, (_, figures) = options.runs / name, COMMANDS[name]
    if picture_name := SEVERAL.get(name):  # of all functions, in the last one's folder
        (picture,) = options.runs.glob(f"{name}-*/plots/{picture_name}.png")
        shutil.copy(picture, options.out / f"papers_{name}.png")
    folder = run_dir if name == "theory" else run_dir / "plots"
    for figure in figures:
        shutil.copy(folder / f"{figure}.png", options.out / f"papers_{name}_{figure}.png")


def log_of(name: str, options: argparse.Namespace) -> Path:
    """Where the output of this part lies."""
    return Path(options.runs / f"{name}.txt")


def clock(seconds: float) -> str:
    """3 min 05 s."""
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


if __name__ == "__main__":
    sys.exit(main())
