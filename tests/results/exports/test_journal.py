"""Runs in Optuna's hands: every plot of optuna.visualization, and optuna-dashboard's journal."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.visualization import matplotlib as optuna_plots

import results
from results.exports.formats import export_journal
from results.records.store import RunStore
from tests.fakes.results import make_space, make_trial, write_run, write_trial

pytestmark = [
    pytest.mark.slow,  # the file takes more than a few seconds
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]
matplotlib.use("Agg")
OF_ONE_OBJECTIVE = (
    *("plot_contour", "plot_edf", "plot_intermediate_values", "plot_optimization_history"),
    *("plot_parallel_coordinate", "plot_param_importances", "plot_rank", "plot_slice"),
    *("plot_terminator_improvement", "plot_timeline"),
)
OF_SEVERAL = ("plot_hypervolume_history", "plot_pareto_front")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return results.load(write_run(tmp_path_factory.mktemp("runs") / "run", arms=["poly", "exp"]))


@pytest.fixture(scope="module")
def rungs(tmp_path_factory):
    """A run of rungs, failures and a diverged trial."""
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    with RunStore.create(run_dir, {"spaces": [make_space("poly").to_dict()]}, "") as store:
        for number in range(12):
            params = {"p": 0.3 + 0.3 * number, "interval": 1 + number % 2}
            params["delta0"] = 0.1 + 0.01 * number
            write_trial(store, make_trial(params=params, horizon=0.5), accuracy=0.7)
            if number % 3 == 0:
                write_trial(store, make_trial(params=params), accuracy=0.8 + 0.01 * number)
        write_trial(store, make_trial(params={"p": 3.95}), status="failed")
        write_trial(store, make_trial(params={"p": 3.96}), status="diverged")
        write_trial(store, make_trial(params={"p": 3.97}), status="running")
    return results.load(run_dir)


def test_the_list_of_plots_is_complete():
    plots = {name for name in optuna_plots.__all__ if name.startswith("plot_")}
    assert plots == {*OF_ONE_OBJECTIVE, *OF_SEVERAL}


@pytest.mark.parametrize("name", OF_ONE_OBJECTIVE)
@pytest.mark.parametrize("kind", ["run", "rungs"])
def test_every_plot_of_optuna_draws_a_study(request, name, kind):
    study = request.getfixturevalue(kind).to_study("poly")
    axes = getattr(optuna_plots, name)(study)
    assert axes is not None
    plt.close("all")


def test_the_timeline_has_the_times_of_the_records(run):
    trial = run.to_study("poly").trials[0]
    row = run.trials.to_pylist()[0]
    assert trial.datetime_start == row["started_at"].replace(tzinfo=None)
    assert trial.datetime_complete == row["ended_at"].replace(tzinfo=None)


def load_journal(path):
    storage = JournalStorage(JournalFileBackend(str(path)))
    return {name: optuna.load_study(study_name=name, storage=storage)
            for name in optuna.get_all_study_names(storage)}  # fmt: skip


@pytest.mark.parametrize("kind", ["run", "rungs"])
def test_a_journal_holds_the_study_of_every_space(request, kind, tmp_path):
    run = request.getfixturevalue(kind)
    path = export_journal(run, tmp_path / "deep" / "optuna_journal.log")
    studies = load_journal(path)
    assert list(studies) == list(run.spaces)
    for name, study in studies.items():
        original = run.to_study(name)
        assert study.direction == original.direction
        for ours, theirs in zip(original.trials, study.trials, strict=True):
            assert (ours.state, ours.values, ours.params) == (
                *(theirs.state, theirs.values, theirs.params),
            )
            assert ours.distributions == theirs.distributions
            assert ours.intermediate_values == theirs.intermediate_values
            assert ours.user_attrs == theirs.user_attrs
            assert ours.datetime_start == theirs.datetime_start
        assert study.user_attrs == {"runs": "run"}


def test_a_second_export_replaces_the_first_and_leaves_no_lock(run, tmp_path):
    path = tmp_path / "journal.log"
    first = export_journal(run, path).read_text()
    assert len(export_journal(run, path).read_text().splitlines()) == len(first.splitlines())
    assert [p.name for p in tmp_path.iterdir()] == ["journal.log"]


def test_a_run_without_spaces_has_no_journal(tmp_path):
    RunStore.create(tmp_path / "run", {}, "").close()
    with pytest.raises(ValueError, match="names no space"):
        export_journal(results.load(tmp_path / "run"), tmp_path / "journal.log")
    assert not (tmp_path / "journal.log").exists()
