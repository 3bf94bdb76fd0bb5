"""Does what CONTRIBUTING says suffice? One more of each, added to a copy of the packages.

Everything is asked of one process that runs in the copy, and of one that trains in another; each
test reads a part of an answer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import results
from results.measurements import MEASUREMENTS, Measurement
from results.plots import save_plots
from results.plots.figure import Plot
from results.records.schema import TRIALS, trial_row
from results.records.segments import to_batch, write_segment
from results.report.page import render_report
from tests.conftest import ROOT
from tests.fakes.results import START, make_trial, write_run
from trainables import MEASUREMENTS as PROBES
from tuner.measure.__main__ import main as measure
from tuner.measure.reports import report


@dataclass(frozen=True)
class Epochs:
    """What a figure of one's own shows."""

    name: str
    num: int


PACKAGES = ("search_spaces", "trainables", "results", "tuner")
FAMILY = '''"""Sine decay: d(u) = 1 - sin(pi u / 2)^m."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces.families.family import Family, Parameter
from search_spaces.space import Range


def curve(progress: NDArray[np.float64], *, m: float) -> NDArray[np.float64]:
    """Noise level relative to its start."""
    return np.asarray(1.0 - np.sin(np.pi * progress / 2.0) ** m)


FAMILY = Family(
    curve=curve,
    source="ours",
    parameters={
        "m": Parameter(
            range=Range(low=1.0, high=8.0), meaning="power of the sine", natural_ends=(1,)
        ),
    },
    color="sky",
    recipe={"m": 2.0},
)
'''
ASK_FAMILY = """
from results.arms.comparison import NATURAL_ENDS
from results.plots.search.parameter_map import main_axes
from results.plots.style import SKY, color_of
from results.records.schema import TRIALS, trial_row
from results.records.segments import read_segment
from tuner.config.compose import compose
from tuner.config.help import describe_keys, markdown
from tuner.plan.plan import make_plan

words = ["space=[sine,mine.yaml]", "spaces.sine.m.high=4", "recipe.family=sine"]
plan = make_plan(compose(words))
own, file = plan.spaces
trial = plan.trial(own, own.fixed | {"m": 2.0, "delta0": plan.delta_ref, "interval": 1})
row = trial_row(
    "run", trial, status="running", attempt=0, outcome=None, epochs_done=0, host="",
    started_at=datetime(2026, 11, 21, tzinfo=UTC), ended_at=None, error=None,
)
answer["family"] = {
    "ranges": {space.name: space.to_dict()["ranges"]["m"] for space in plan.spaces},
    "baseline": plan.baseline.fixed["m"],
    "lr": (trial.schedule.lr_S / trial.lr0).tolist(),
    "columns": TRIALS.names,
    "description": TRIALS.field("m").metadata[b"description"].decode(),
    "value": row["m"],
    "old": read_segment(Path("old.parquet"), TRIALS).to_pylist()[0]["m"],
    "is_sky": color_of("sine") == SKY,
    "axes": main_axes(["delta0", "interval", "m"]),
    "ends": NATURAL_ENDS["m"],
    "help": describe_keys().splitlines()[0],
    "docs": [line for line in markdown().splitlines() if line.startswith("| `sine` |")],
}
"""
DATASET = '''"""Images whose left or right half is bright, 1x4x4."""

from __future__ import annotations

import numpy as np

from trainables.data.sources import Source, SourceInfo, refuse_path


def describe(path: str | None) -> SourceInfo:
    """Their facts."""
    refuse_path("halves", path)
    return SourceInfo(
        name="halves", path=path, num_train=100, num_test=40, num_classes=2,
        fingerprint="halves-1", channels=1, image_size=4,
    )


def load(path: str | None):
    """The images."""
    from trainables.data.datasets import from_arrays
    from trainables.data.images import Augmentation

    def part(count):
        labels_N = np.arange(count) % 2
        images_NHWC = np.zeros((count, 4, 4, 1), dtype=np.uint8)
        for number, label in enumerate(labels_N):
            images_NHWC[number, :, 2 * label : 2 * label + 2] = 200
        return images_NHWC, labels_N

    return from_arrays(part(100), part(40), num_classes=2, augmentation=Augmentation())


halves = Source(describe, load)
'''
MEASUREMENT = '''"""How long is the vector of all weights?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainables.measurements.gradients import flatten, trained_parameters
from trainables.measurements.probe import Probe, Subject


@dataclass(frozen=True, kw_only=True)
class LengthProbe(Probe):
    """At each epoch's end, in units of `unit`."""

    unit: float = 2.0

    def end_epoch(self, training: Subject, epoch: int) -> dict[str, Any]:
        """weight_length."""
        weights_P = flatten(trained_parameters(training.model))
        return {"weight_length": weights_P.norm().item() / self.unit}

    def end_training(self, training: Subject) -> dict[str, Any]:
        """last_weight_length."""
        return {"last_weight_length": self.end_epoch(training, 0)["weight_length"]}
'''
ASK_TRAINING = """
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from trainables.data.sources import describe
from tuner.config.compose import compose
from tuner.plan.plan import make_plan
from tuner.session.cluster import settle

info = describe("halves", None)
words = ["workload=digits", "dataset.name=halves", "measure=[length]", "epochs=2", "space=poly"]
words += ["dataset.val_fraction=0.2", "model.width=4"]
plan = make_plan(compose([*words, "batch.initial=10"]))
is_light = "torch" not in sys.modules
plan = settle(plan, "cpu")
try:
    make_plan(compose(["dataset.name=halfs"]))
except ValueError as error:
    nearest = str(error)

from results.records.schema import EPOCHS, TRIALS, epoch_row, trial_row
from results.records.segments import read_segment, to_batch, write_segment
from trainables.data.stream import in_order
from trainables.loop import NetworkTraining
import pyarrow as pa

space = plan.spaces[0]
ranges = {name: axis.from_unit(0.5) for name, axis in space.ranges.items()}
trial = plan.trial(space, ranges | {"interval": 1})
training = NetworkTraining(trial)
while not training.finished:
    training.run_epoch()
rows = [epoch_row("run", trial, 1, record) for record in training.records]
batches = [to_batch([row], EPOCHS) for row in rows]
write_segment(Path("epochs.parquet"), pa.Table.from_batches(batches))
row = trial_row(
    "run", trial, status="completed", attempt=1, outcome=training.outcome(), epochs_done=2,
    host="", started_at=datetime(2026, 11, 21, tzinfo=UTC), ended_at=None, error=None,
)
print(json.dumps({
    "num_train": info.num_train,
    "fingerprint": [info.fingerprint, plan.recipe.data_fingerprint, row["data_fingerprint"]],
    "is_light": is_light,
    "nearest": nearest,
    "options": plan.recipe.measurements,
    "samples": [r["samples_seen"] for r in rows],
    "shape": list(next(training.train_set.batches(in_order(1, 1)))[0].shape[1:]),
    "epochs": [r["measured"] for r in read_segment(Path("epochs.parquet"), EPOCHS).to_pylist()],
    "end": row["measured"],
    "length": sum(float(p.detach().square().sum()) for p in training.model.parameters()) ** 0.5,
}))
"""
ASK = f"""
import json
from datetime import UTC, datetime
from pathlib import Path

answer = {{}}
{ASK_FAMILY}
print(json.dumps(answer))
"""


def add_line(path: Path, after: str, line: str) -> None:
    """One line, behind the one that is named."""
    text = path.read_text()
    assert text.count(after) == 1
    path.write_text(text.replace(after, f"{after}{line}"))


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the packages with one more of each tells."""
    root = tmp_path_factory.mktemp("house")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, root / name)
    families = root / "search_spaces" / "families"
    (families / "sine.py").write_text(FAMILY)
    add_line(families / "__init__.py", '    "poly": poly.FAMILY,\n', '    "sine": sine.FAMILY,\n')
    add_line(families / "__init__.py", "import constant, ", "sine, ")
    (root / "mine.yaml").write_text("family: sine\nm: {low: 2.0, high: 3.0}\n")
    row = trial_row(
        "run", make_trial(), status="running", attempt=0, outcome=None, epochs_done=0, host="",
        started_at=START, ended_at=None, error=None,
    )  # fmt: skip
    write_segment(root / "old.parquet", pa.Table.from_batches([to_batch([row], TRIALS)]))
    return ask(ASK, root)


def ask(questions: str, root: Path) -> dict[str, Any]:
    """What one process in this folder answers."""
    asked = subprocess.run(
        [sys.executable, "-c", questions], cwd=root, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0, asked.stderr
    return dict(json.loads(asked.stdout))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a training tells in a copy with one more dataset and one more measurement."""
    root = tmp_path_factory.mktemp("workshop")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, root / name)
    (root / "trainables" / "data" / "halves.py").write_text(DATASET)
    (root / "trainables" / "measurements" / "length.py").write_text(MEASUREMENT)
    registry = root / "trainables" / "__init__.py"
    digits, noise = (
        line for line in registry.read_text().splitlines(keepends=True)
        if line.startswith(('    "digits":', '    "noise":'))
    )  # fmt: skip
    add_line(registry, digits, '    "halves": "trainables.data.halves:halves",\n')
    add_line(registry, noise, '    "length": "trainables.measurements.length:LengthProbe",\n')
    return ask(ASK_TRAINING, root)


@pytest.mark.slow
def test_a_new_family_is_a_space_of_the_command_line_and_of_files(answer: dict[str, Any]) -> None:
    family = answer["family"]
    assert family["ranges"] == {"sine": {"low": 1, "high": 4}, "mine": {"low": 2, "high": 3}}
    assert family["baseline"] == 2.0
    assert "poly, sine, " in family["help"]
    # sin^2 is one minus cos^2: 15 epochs of digits.
    expected = [1.0, 0.75, 0.25]  # at u = 0, 1/3, 2/3
    assert family["lr"][::5] == pytest.approx(expected)


@pytest.mark.slow
def test_a_new_family_has_its_columns_behind_all_others(answer: dict[str, Any]) -> None:
    family = answer["family"]
    assert family["columns"] == [*TRIALS.names, "m"]
    assert family["description"] == "power of the sine"
    assert family["value"] == 2.0


def test_records_from_before_a_new_family_are_read(answer: dict[str, Any]) -> None:
    assert answer["family"]["old"] is None


def test_a_new_family_is_drawn_and_documented(answer: dict[str, Any]) -> None:
    family = answer["family"]
    assert family["is_sky"]
    assert family["axes"] == ["m", "interval"]
    assert family["ends"] == [1]
    (line,) = family["docs"]
    assert "Sine decay" in line
    assert "`m`: power of the sine" in line


@pytest.mark.slow
def test_a_new_dataset_is_described_without_torch_and_trained_on(trained: dict[str, Any]) -> None:
    assert trained["is_light"]
    assert trained["num_train"] == 100
    assert trained["fingerprint"] == ["halves-1"] * 3
    assert "did you mean 'halves'?" in trained["nearest"]
    assert trained["samples"] == [80, 160]  # a fifth of 100 validates
    assert trained["shape"] == [1, 4, 4]


@pytest.mark.slow
def test_a_new_measurement_is_measured_and_recorded(trained: dict[str, Any]) -> None:
    assert trained["options"] == {"length": {}}
    epochs = [json.loads(text) for text in trained["epochs"]]
    assert [list(measured) for measured in epochs] == [["weight_length"]] * 2
    end = json.loads(trained["end"])
    assert end["last_weight_length"] == epochs[-1]["weight_length"]
    assert end["last_weight_length"] == pytest.approx(trained["length"] / 2.0)


@pytest.mark.slow
def test_a_new_figure_is_saved_and_in_its_section_of_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Plot(
        title="Number of epochs",
        section="Search",
        info=lambda run: tuple(Epochs(name=row["space"], num=row["epochs"]) for row in run.rows()),
        draw=lambda arms, figure: figure.subplots().barh([a.name for a in arms], len(arms)),
        caption=lambda arms: f"As long as it takes, n={len(arms)} trials.",
    )
    monkeypatch.setattr("results.plots.PLOTS", {"epochs_mine": mine})
    monkeypatch.setattr("results.report.page.PLOTS", {"epochs_mine": mine})
    run = results.load(write_run(tmp_path / "run", arms=("poly",), trials=1, seeds=1))
    assert [path.name for path in save_plots(run, tmp_path / "plots")] == ["epochs_mine.png"]
    page = render_report(run)
    section = page.partition('<section id="search"')[2].partition("</section>")[0]
    for phrase in ("<h2>Search</h2>", "Number of epochs", "As long as it takes, n=3 trials."):
        assert phrase in section
    assert '<th scope="row">poly</th><td class="number">6</td>' in section
    assert "figure-epochs_mine" not in page.replace(section, "")


def test_a_figure_of_no_section_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one of Evidence, Curves, .* but got 'Sundries'"):
        Plot(title="t", section="Sundries", info=tuple, draw=print)


def test_a_new_measurement_says_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    length = Measurement("how long it takes", lambda run: [f"{len(run.rows())} lengths"])
    monkeypatch.setitem(MEASUREMENTS, "length", length)
    monkeypatch.setitem(PROBES, "length", "tests.test_contributing:LengthProbe")
    monkeypatch.setattr("results.plots.PLOTS", {})
    assert measure(["--help"]) == 0
    assert "\n  length     how long it takes\n" in capsys.readouterr().out
    assert measure(["length", "--cfg"]) == 0
    assert "\nmeasure:\n- length\n" in capsys.readouterr().out
    write_run(tmp_path / "run", arms=("poly",), trials=1, seeds=1)
    report("length", tmp_path / "run")
    assert "\n3 lengths\n" in capsys.readouterr().out
