"""Runs what docs/papers.md reports, into runs/papers, and copies its figures to docs/images.

`python docs/papers.py` (or `make papers`) takes about 40 minutes on two CPU cores; with names
(`python docs/papers.py p1_schedules exchange`) only these, with key=value words
(`... p1_methods epochs=2 dry_run=true`) these in another form. Runs that exist are gone on with.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

RUNS = Path("runs/papers")
IMAGES = Path(__file__).parent / "images"

# Name of the run -> command without `python -m`, and the figures shown in docs/papers.md.
COMMANDS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "p1_schedules": (["tuner.run", "preset=p1_schedules_cpu"], ("published", "decay_rates")),
    "p1_methods": (["tuner.run", "preset=p1_methods_cpu"], ("schedules",)),
    "p1_noise": (["tuner.measure", "sampling", "preset=p1_noise_cpu"], ("sampling",)),
    "p1_sharpness": (["tuner.measure", "sharpness", "preset=p1_sharpness_cpu"], ("sharpness",)),
    "p1_critical": (["tuner.measure", "critical", "preset=p1_critical_cpu"], ("critical",)),
    "aaai_explicit": (["tuner.run", "preset=aaai_explicit_cpu"], ()),
    "aaai_shb": (["tuner.run", "preset=aaai_shb_cpu"], ()),
    "aaai_nshb": (["tuner.run", "preset=aaai_nshb_cpu"], ()),
    "aaai_algorithm6": (["tuner.run", "preset=aaai_algorithm6_cpu"], ("differences",)),
    "noise": (["tuner.measure", "noise"], ("noise",)),
    "realised": (
        [
            *("tuner.measure", "noise", "preset=p1_schedules_cpu", "measure=[noise]"),
            *("space=[poly,cosine]", "noise.every=4", "confirm.seeds=3"),
        ],
        ("realised",),
    ),
    "exchange": (["tuner.measure", "exchange"], ("exchange",)),
    "exchange_sgd": (
        [
            *("tuner.measure", "exchange", "optimizer.momentum=0", "optimizer.nesterov=false"),
            *("optimizer.weight_decay=0", "lr=0.1"),
        ],
        (),
    ),
    "equivalence": (
        [
            *("tuner.measure", "equivalence"),
            "functions=sphere,ellipsoid,rastrigin,griewank,rosenbrock",
        ],
        (),
    ),
    "implicit": (
        [
            *("tuner.measure", "functions", "preset=measure_implicit"),
            "functions=rastrigin,ackley,griewank",
        ],
        (),
    ),
    "theory": (["tuner.measure", "theory", "a=3,17.2"], ("radius_factor", "graduated", "nice")),
    "functions": (["tuner.measure", "functions", "functions=all"], ()),
}
# Those that are several runs -> the picture of all.
SEVERAL = {
    "functions": "functions",
    "implicit": "functions",
    "equivalence": "equivalence_functions",
}
# Arm that the tables of docs/papers.md compare with.
REFERENCES = {
    "p1_schedules": "poly p=1",
    "p1_methods": "lr",
    "aaai_explicit": "poly",
    "aaai_shb": "poly p=1",
    "aaai_nshb": "poly p=1",
    "aaai_algorithm6": "constant",
}


def main() -> None:
    """Run the named ones, or all; a dry run prints the plans alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="names, and key=value for every command")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the runs")
    options = parser.parse_intermixed_args()
    names = [word for word in options.words if "=" not in word]
    more = [word for word in options.words if "=" in word]
    for name in names or COMMANDS:
        command, figures = COMMANDS[name]
        run_dir = options.runs / name
        python = [sys.executable, "-m"]
        run_words = [*command, f"runs_dir={options.runs}", f"name={name}", *more]
        if (run_dir / "manifest.json").exists():
            what = [word for word in command[:2] if "=" not in word]
            run_words = [*what, f"resume={run_dir}"]
        if name == "theory":  # no run: nothing is trained, and other keys are not its own
            run_words = [*command, f"out={run_dir}"]
        print("\n$ python -m " + " ".join(run_words), flush=True)
        subprocess.run([*python, *run_words], check=True)
        if "dry_run=true" in more:
            continue
        if name in SEVERAL:  # a run for each function, the picture in the last one's folder
            (picture,) = options.runs.glob(f"{name}-*/plots/{SEVERAL[name]}.png")
            shutil.copy(picture, options.out / f"papers_{name}.png")
            continue
        if name == "theory":
            for figure in figures:
                shutil.copy(run_dir / f"{figure}.png", options.out / f"papers_{name}_{figure}.png")
            continue
        compare = [*python, "results", "compare", str(run_dir)]
        subprocess.run(compare, check=True, stdout=subprocess.DEVNULL)  # draws the figures
        if name in REFERENCES:
            subprocess.run([*compare, "--reference", REFERENCES[name]], check=True)
        for figure in figures:
            picture = options.out / f"papers_{name}_{figure}.png"
            shutil.copy(run_dir / "plots" / f"{figure}.png", picture)


if __name__ == "__main__":
    main()
