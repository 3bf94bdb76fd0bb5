"""The exported schedule: read back, at another length, as a formula, and followed line by line."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data import Dataset

from results.__main__ import main
from results.exports.formula import formula, formula_text
from results.exports.length import stretched
from results.exports.snippet import export_schedule
from results.records.store import RunStore
from search_spaces.schedule import Schedule
from search_spaces.trial import TrialConfig
from tests.fakes.results import make_recipe, make_trial, write_run, write_trial
from trainables.adapters import read_schedule

torch.set_num_threads(1)
BY_STEP = make_recipe(train_examples=64, batch0=8, epochs=3, decay_after_warmup=True)
TRIALS = {
    "poly": make_trial("poly", {"p": 2.0}),
    "by step": make_trial("poly", {"p": 2.0, "interval": 0}, recipe=BY_STEP),
    "warmup": make_trial(
        "poly", {"p": 0.7, "interval": 0, "end": 0.1, "warmup": 0.25}, recipe=BY_STEP
    ),
    "warmup by parts": make_trial(
        "cosine", recipe=make_recipe(warmup_epochs=1.5, decay_after_warmup=True)
    ),
    "warmup of before": make_trial("cosine", recipe=make_recipe(warmup_epochs=1.5)),
    "step": make_trial("step", {"interval": 2, "factor": 0.5}),
    "factor by step": make_trial("step", {"interval": 0, "factor": 0.9}, recipe=BY_STEP),
    "seesaw": make_trial("seesaw", {"interval": 1, "split": 0.5}),
    "batch": make_trial("batch", {"interval": 1, "factor": 0.7071, "split": 0.0}),
    "momentum": make_trial("poly", {"p": 1.0, "momentum_share": 1.0}),
}
ALL = pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS)


def assert_same(a: Schedule, b: Schedule) -> None:
    for item in fields(Schedule):
        np.testing.assert_array_equal(getattr(a, item.name), getattr(b, item.name))


@ALL
def test_an_exported_table_is_read_back_to_the_last_digit(
    trial: TrialConfig, tmp_path: Path
) -> None:
    export_schedule(trial, tmp_path)
    assert_same(read_schedule(tmp_path), trial.schedule)


def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="results export RUN") as error:
        read_schedule(tmp_path / "nowhere")
    assert "\n" not in str(error.value)
    export_schedule(TRIALS["poly"], tmp_path)
    table = tmp_path / "schedule.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match="the table is cut off"):
        read_schedule(tmp_path)


@ALL
@pytest.mark.parametrize("factor", [2.0, 2.5, 0.9])
def test_at_another_length_each_level_keeps_its_share_of_the_samples(
    trial: TrialConfig, factor: float
) -> None:
    found, table = trial.schedule, stretched(trial, epochs=factor * trial.recipe.epochs).schedule
    assert table.total_samples == round(factor * found.total_samples)
    assert table.epoch_samples == found.epoch_samples
    # Within two stages, as exactly as the curve was read; the warmups end at a quarter.
    for share in np.linspace(0.3, 0.93, 37):
        stage = found.stage_at(int(share * found.total_samples))
        near_S = found.delta_S[max(0, stage - 2) : stage + 3]
        delta = table.delta_S[table.stage_at(int(share * table.total_samples))]
        assert near_S.min() * 0.999 <= delta <= near_S.max() * 1.001
    assert set(table.batch_size_S.tolist()) == set(found.batch_size_S.tolist())


def test_the_runs_own_length_is_the_runs_own_table() -> None:
    for trial in TRIALS.values():
        assert_same(stretched(trial, epochs=trial.recipe.epochs).schedule, trial.schedule)
        squeezed = replace(trial, horizon=0.5, until=1)
        assert_same(stretched(squeezed).schedule, trial.schedule)


@ALL
@pytest.mark.parametrize("steps", [40, 1001])
def test_a_length_in_steps_has_so_many(trial: TrialConfig, steps: int) -> None:
    assert stretched(trial, steps=steps).schedule.num_steps() == steps


def test_double_the_length_is_every_stage_twice_as_long() -> None:
    found, table = TRIALS["poly"].schedule, stretched(TRIALS["poly"], epochs=12).schedule
    assert table.start_S.tolist() == (2 * found.start_S).tolist()
    np.testing.assert_allclose(table.lr_S, found.lr_S, rtol=1e-12)


def test_a_factor_per_step_keeps_the_whole_decay_at_another_length() -> None:
    found = TRIALS["factor by step"]  # 24 steps
    for longer in (stretched(found, epochs=6), stretched(found, steps=48)):
        expected = found.lr0 * 0.9 ** (np.arange(48) / 2)
        np.testing.assert_allclose(longer.schedule.lr_S, expected, rtol=1e-9)
        assert formula(longer)["end_ratio"] == pytest.approx(0.9**24)
    recipe = replace(BY_STEP, warmup_epochs=1.0)  # 8 steps, twice as many at the double length
    warm = replace(found, recipe=recipe)
    table = stretched(warm, epochs=6).schedule
    np.testing.assert_allclose(table.lr_S[16:], warm.lr0 * 0.9 ** (np.arange(32) / 2), rtol=1e-9)


@pytest.mark.parametrize("name", ["by step", "warmup"])
def test_the_formula_is_the_table(name: str) -> None:
    # Written out here once more: linear warmup, then peak * (floor + (1 - floor) (1 - u)^p).
    trial = TRIALS[name]
    numbers, table = formula(trial), trial.schedule
    warm, steps = numbers["warmup_steps"], numbers["num_steps"]
    assert (warm, steps) == ({"by step": 0, "warmup": 6}[name], 24)
    floor, peak = numbers["floor"], numbers["peak_lr"]
    expected = [peak * (step + 1) / (warm + 1) for step in range(warm)]
    expected += [
        peak * (floor + (1 - floor) * (1 - step / (steps - warm)) ** numbers["p"])
        for step in range(steps - warm)
    ]
    lrs = [float(table.lr_S[step.stage]) for step in table.steps()]
    np.testing.assert_allclose(lrs, expected, rtol=1e-12)


def test_the_formula_in_words() -> None:
    text = formula_text(TRIALS["warmup"])
    assert f"lr {TRIALS['warmup'].lr0:.6g} at batch 8, 24 steps" in text
    assert "linear over the first 6 steps (25 % of the samples)" in text
    assert "D = 0.1 + 0.9 * d(u); d(u) = (1-u)^p; p = 0.7" in text
    assert "every optimizer step" in text
    assert "b = 32 * D^-1, rounded" in formula_text(TRIALS["seesaw"])
    assert "all samples, beneath the warmup" in formula_text(TRIALS["warmup of before"])
    assert "warmup  none" in formula_text(TRIALS["poly"])
    assert "every 2 epochs" in formula_text(stretched(TRIALS["poly"], epochs=12))


def test_the_command_writes_the_winner_at_another_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    assert main(["export", str(run), "epochs=9", "--out", str(tmp_path / "nine")]) == 0
    names = ["schedule.csv", "schedule.json", "adapters.md", "torch_snippet.py"]
    assert [Path(line).name for line in capsys.readouterr().out.splitlines()] == names
    assert read_schedule(tmp_path / "nine").total_samples == 9 * 1200
    content = json.loads((tmp_path / "nine" / "schedule.json").read_text())
    assert (content["epochs"], content["exported_epochs"]) == (6, 9)
    page = (tmp_path / "nine" / "adapters.md").read_text()
    assert (
        "9 epochs of 1200 samples, stretched from 6 epochs: that its lr is best here too" in page
    )
    assert main(["export", str(run), "steps=100", "--out", str(tmp_path / "steps")]) == 0
    assert read_schedule(tmp_path / "steps").num_steps() == 100


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("epoch=9", "unknown key 'epoch'; did you mean 'epochs'?"),
        ("epochs=many", "epochs=many: a number above 0."),
        ("epochs=0", "epochs=0: a number above 0."),
        ("epochs=nan", "epochs=nan: a number above 0."),
        ("steps=1.5", "steps=1.5: a whole number above 0."),
        ("steps=-3", "steps=-3: a whole number above 0."),
        ("steps=5", "steps=5: a horizon must hold at least 20 optimizer steps, but got 5"),
    ],
)
def test_a_bad_length_is_one_line_and_writes_nothing(
    word: str, error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunStore.create(tmp_path / "run", {}, "") as store:
        write_trial(store, make_trial())
    assert main(["export", str(tmp_path / "run"), word]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: {error}")
    assert not (tmp_path / "run" / "export").exists()


def test_names_from_a_file_cannot_become_lines_of_the_page(tmp_path: Path) -> None:
    evil = replace(make_trial(), space="x\n```\n\n```python\nraise SystemExit(1)")
    export_schedule(evil, tmp_path)
    assert "\nraise" not in (tmp_path / "adapters.md").read_text()


class Numbered(Dataset[dict[str, Tensor]]):
    """Samples that say which they are."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"number": torch.tensor(index), "x": torch.full((4,), index / 64)}


class Net(nn.Module):
    """Notes how large each batch was."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Linear(4, 2)
        self.sizes: list[int] = []

    def forward(self, number: Tensor, x: Tensor) -> dict[str, Tensor]:
        self.sizes.append(len(number))
        return {"loss": nn.functional.cross_entropy(self.layers(x), number % 2)}


def code_of(page: Path, library: str) -> str:
    """The block under this heading."""
    _, _, text = page.read_text().partition(f"## {library}\n")
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.slow
@pytest.mark.parametrize("library", ["torch", "Transformers", "Lightning", "timm"])
@pytest.mark.filterwarnings(
    "ignore:The 'train_dataloader' does not have many workers",
    "ignore:Trying to infer the `batch_size`",
    "ignore:`tensorboardX` has been removed",
    "ignore:The number of training batches",
    "ignore:'pin_memory' argument is set as true",
    "ignore:.*LeafSpec.* is deprecated",
)
def test_the_lines_of_each_library_train_along_the_table(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library != "torch":
        pytest.importorskip(library.lower())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    recipe = replace(BY_STEP, epochs=2)
    trial = make_trial("seesaw", {"interval": 1, "split": 0.5}, recipe=recipe)
    export_schedule(trial, tmp_path / "out")
    model, used = Net(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    names: dict[str, Any] = {
        **{"model": model, "optimizer": optimizer, "data": Numbered()},
        "loss": lambda model, batch: model(**batch)["loss"],
    }
    if library == "Lightning":
        names["model"] = lit(model, optimizer)
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"])
    )
    try:
        exec(code_of(tmp_path / "out" / "adapters.md", library), names)
    finally:
        hook.remove()
    table = trial.schedule
    assert used == [float(table.lr_S[step.stage]) for step in table.steps()]
    assert model.sizes == [step.batch_size for step in table.steps()]
    assert len(set(model.sizes)) > 1


def lit(model: Net, optimizer: torch.optim.Optimizer) -> Any:
    """The same training as a module of Lightning's, without its prints and files."""
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
            return self.model(**batch)["loss"]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer

    return Lit()
