"""Makes the README's pictures: `python docs/make_images.py runs/readme`.

The schedules come from search_spaces alone, the comparison from a run of
`python -m tuner.run 'space=[poly,cosine,exp]' trials=8 confirm.seeds=10 name=readme`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import results
from results.plots import save_plots
from results.plots.style import color_of
from search_spaces import FAMILIES, HYBRID
from search_spaces.noise_law import NoiseLaw
from search_spaces.schedule import make_schedule

IMAGES = Path(__file__).parent / "images"
EPOCHS, EXAMPLES = 200, 50_000
CURVES = {
    "poly": [("p=0.5", {"p": 0.5}), ("p=2", {"p": 2.0})],
    "cosine": [("", {})],
    "exp": [("end 0.01", {"end_ratio": 0.01})],
    "wsd": [("f=0.3, p=1", {"f": 0.3, "p": 1.0})],
}


def draw_schedules(path: Path) -> None:
    """Left: delta of some families. Right: one delta path split three ways."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    u = np.linspace(0, 0.9999, 500)
    for family, variants in CURVES.items():
        for number, (label, params) in enumerate(variants):
            d = FAMILIES[family](u, **params)
            style = "--" if number else "-"
            left.plot(EPOCHS * u, d, style, color=color_of(family), label=f"{family} {label}")
    left.set(title="noise level delta, relative", xlabel="epoch")
    left.legend(fontsize=7, loc="lower left", framealpha=0.9, edgecolor="none")
    for split, label, style in (
        (1.0, "lr", "-"),
        (HYBRID.fixed_value, "hybrid", "--"),
        (0.0, "batch", ":"),
    ):
        table = make_schedule(
            lambda x: FAMILIES["poly"](x, p=1.0),
            epochs=EPOCHS,
            train_examples=EXAMPLES,
            interval=20,
            lr0=0.1,
            batch0=128,
            split=split,
            law=NoiseLaw(c2=1280.0),
        )
        edges = np.append(table.start_S, table.total_samples) / EXAMPLES
        for axes, values in ((middle, table.lr_S), (right, table.batch_size_S)):
            axes.stairs(
                values, edges, baseline=None, linestyle=style, linewidth=2, label=f"split {label}"
            )
    middle.set(title="one path of delta, three splits: lr", xlabel="epoch")
    right.set(
        title="... and batch size", xlabel="epoch", yscale="log", yticks=[128, 512, 2048, 8192]
    )
    right.set_yticklabels(["128", "512", "2048", "8192"])
    right.minorticks_off()
    right.legend(frameon=False, fontsize=8)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def picture_report(run_dir: Path, path: Path) -> None:
    """The top of the run's report.html, by a headless Chromium where there is one."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    page = (run_dir / "report.html").resolve()
    if browser is None or not page.exists():
        print(f"no Chromium or no report: {path.name} stays as it is")
        return
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    size = ["--window-size=1100,1320", f"--screenshot={path}"]
    subprocess.run([browser, *options, *size, page.as_uri()], check=True, capture_output=True)


def main() -> None:
    """Make them of the run named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    draw_schedules(options.out / "families.png")
    for made in save_plots(results.load(options.run), options.out):
        if made.stem != "differences":
            made.unlink()
    picture_report(options.run, options.out / "report.png")
    print("made of", options.run, "in", options.out)


if __name__ == "__main__":
    main()
