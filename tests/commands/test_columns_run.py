"""The command: numbers of the training and of a user's own curve are searched, mapped, resumed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pyarrow as pa
import pytest

import results
from results.exports.formats import export_csv, export_journal
from results.exports.snippet import export_schedule
from results.plots.search.importances import importances
from results.plots.search.parallel import parallel_info
from results.plots.search.parameter_map import parameter_map_info
from results.plots.search.slices import slices_info
from tests.commands.command import reproducible
from tests.conftest import ROOT
from tests.fakes.tune_loop import CHECK_IMPORT, Inline
from tuner.plan import usercode

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

NETWORK = (
    *("model.width=4", "dataset.train_examples=150", "epochs=3", "confirm.seeds=2"),
    *("spaces.poly.interval.value=1", "spaces.poly.delta0.value=0.1"),
    *("spaces.poly.weight_decay.low=1e-4", "spaces.poly.weight_decay.high=0.1"),
    *("spaces.poly.weight_decay.log=true", "display=plain"),
)
OWN = (
    *("trainable=tests.fakes.decayed:train", "dataset.train_examples=60", "lr=0.5"),
    *("batch.initial=6", "epochs=4", "confirm.seeds=2", "display=plain"),
)
BETA2 = (
    *("spaces.poly.beta2.low=0.5", "spaces.poly.beta2.high=0.99"),
    *("spaces.poly.weight_decay.choices=[0,0.1]", "spaces.poly.momentum.choices=[0.3,0.6]"),
)
STARTUP = ("search.startup=10",)  # of a search of 8 as of one of 10
KNEE = ROOT / "tests" / "fakes" / "knee.py"
# Name -> its words, what allows the code of it again, the map's axes, the parameters searched.
CASES = {
    "network": (NETWORK, (), ("p", "weight_decay"), {"p", "weight_decay"}),
    "own": (
        *((*OWN, *BETA2), OWN[:1], ("p", "beta2")),
        {"p", "interval", "delta0", "beta2", "weight_decay", "momentum"},
    ),
    "curve": (
        *((*OWN, f"space={KNEE}"), (*OWN[:1], f"space={KNEE}"), ("knee", "interval")),
        {"knee", "interval", "delta0"},
    ),
}
ARM = {"network": "poly", "own": "poly", "curve": "knee"}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], results.Run]:
    """The run of a case: 10 configs at once, made when it is first asked for."""
    found: dict[str, results.Run] = {}

    def run(case: str) -> results.Run:
        if case not in found:
            folder = tmp_path_factory.mktemp("runs")
            with pytest.MonkeyPatch.context() as patch:
                done = Inline(folder, patch).run(
                    *CASES[case][0], *STARTUP, "trials=10", "name=whole"
                )
            assert done.returncode == 0, done.stderr
            found[case] = results.load(folder / "whole")
        return found[case]

    return run


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_is_a_column_and_what_was_trained(
    case: str, search: Callable[[str], results.Run]
) -> None:
    run = search(case)
    params = CASES[case][3]
    assert set(run.spaces[ARM[case]].free) == params
    assert {run.trials.schema.field(name).type for name in params} == {pa.float64()}
    for row in run.trials.to_pylist():
        trial = results.records.schema.trial_from_row(row)
        is_arm = row["space"] == ARM[case]
        assert {n: row[n] for n in trial.params if n in params} == {
            n: v for n, v in trial.params.items() if n in params
        }
        if "weight_decay" in params and is_arm:
            assert row["weight_decay"] == trial.recipe.weight_decay
    searched = [r for r in run.trials.to_pylist() if r["role"] == "search"]
    assert all(len({r[name] for r in searched}) > 1 for name in params)
    baseline = [r for r in run.trials.to_pylist() if r["space"] == "baseline"]
    assert len(baseline) == 2
    assert {r.get("beta2") for r in baseline} == {None}
    assert {r.get("knee") for r in baseline} == {None}


@pytest.mark.parametrize(
    "case", ["own", *(pytest.param(case, marks=pytest.mark.full) for case in ("network", "curve"))]
)
def test_a_search_that_is_extended_has_the_rows_of_one_search(
    case: str, inline: Inline, search: Callable[[str], results.Run]
) -> None:
    words, again, *_ = CASES[case]
    assert inline.run(*words, *STARTUP, "trials=8", "name=cut").returncode == 0
    resumed = inline.run(f"resume={inline.folder / 'cut'}", *again, "trials=+2")
    assert resumed.returncode == 0, resumed.stderr

    def searched(run: results.Run) -> list[list[dict[str, object]]]:
        trials, epochs = reproducible(run)
        return [[r for r in rows if r["role"] == "search"] for rows in (trials, epochs)]

    assert searched(results.load(inline.folder / "cut")) == searched(search(case))


@pytest.mark.parametrize("case", CASES)
def test_figures_studies_and_exports_treat_them_like_any_other(
    case: str, search: Callable[[str], results.Run], tmp_path: Path
) -> None:
    run, arm = search(case), ARM[case]
    axes, params = CASES[case][2:]
    (shown,) = parameter_map_info(run)
    assert (shown.x_name, shown.y_name) == axes
    (slices,) = slices_info(run)
    assert set(slices.params) == params
    assert set(importances(run, arm).share) == params
    assert [set(shown.params) for shown in parallel_info(run)] == [params] * (len(params) > 3)
    assert all(set(trial.params) == params for trial in run.to_study(arm).trials)
    trials_csv, _ = export_csv(run, tmp_path)
    rows = list(csv.DictReader(trials_csv.read_text().splitlines()))
    assert {float(r[axes[1]]) for r in rows if r["space"] == arm} == {
        r[axes[1]] for r in run.trials.to_pylist() if r["space"] == arm
    }
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(export_journal(run, tmp_path / "log")))
    )
    assert set(optuna.load_study(study_name=arm, storage=storage).best_params) == params


def test_the_winners_numbers_are_confirmed_told_and_exported(
    search: Callable[[str], results.Run], tmp_path: Path
) -> None:
    run = search("own")
    best = run.best("poly")
    confirmed = [
        r for r in run.trials.to_pylist() if (r["space"], r["role"]) == ("poly", "confirm")
    ]
    assert {r["beta2"] for r in confirmed} == {best.params["beta2"]}
    comparison = run.compare()
    assert any(
        w.startswith("beta2, momentum, weight_decay: not searched") for w in comparison.warnings
    )
    assert f"beta2={best.params['beta2']:.4g}" in comparison.tables()["choices"].text()
    export_schedule(best, tmp_path)
    plan, snippet = tmp_path / "schedule.json", tmp_path / "torch_snippet.py"
    found = json.loads(plan.read_text())
    assert found["training"] == best.training_params
    assert found["training"].keys() == {"beta2", "weight_decay", "momentum"}
    told = f"Trained with beta2={best.params['beta2']:.4g}, momentum="
    assert told in snippet.read_text()
    network = search("network").best("poly")
    export_schedule(network, tmp_path)
    assert f"weight_decay={network.params['weight_decay']}" in snippet.read_text()


def test_runs_with_and_without_them_load_together(
    search: Callable[[str], results.Run],
) -> None:
    dirs = [search(case).dirs[0] for case in CASES]
    old = results.load(ROOT / "tests" / "data" / "runs" / "ordinary")
    run = results.load([*dirs, *old.dirs])
    assert len(run.manifests) == len(dirs) + 1
    rows = run.trials.to_pylist()
    assert {"beta2", "knee"} <= rows[0].keys()
    assert {r["space"] for r in rows if r["knee"] is not None} == {"knee"}
    assert all(r["weight_decay"] is None for r in rows if r["run_id"] in old.manifests)


def test_a_training_without_params_is_refused_before_anything_starts(
    inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usercode, "check_import", CHECK_IMPORT)
    trainable = "trainable=tests.fakes.losses:descend"
    done = inline.run(*OWN[1:], trainable, "spaces.poly.intervall.value=1", "name=never")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {trainable}: TypeError: takes no argument `params`, by which intervall would be "
        "handed to it; did you mean 'interval'?\n"
    )
    assert not (inline.folder / "never").exists()
