"""Figures of the search, its parameters and its time: the numbers they show, by hand."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest
from matplotlib.figure import Figure
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

import results
from results.plots import PLOTS
from results.plots.arms.curves import costs_info, curves_info, mean_band
from results.plots.arms.time_use import time_use_info
from results.plots.figure import arms_of
from results.plots.search.importances import (
    IMPORTANCES,
    MIN_TRIALS,
    MOST_TREES,
    SEED,
    importances,
    importances_info,
)
from results.plots.search.parallel import draw_parallel
from results.plots.search.parameter_map import main_axes, parameter_map_info
from results.plots.search.progress import ArmProgress, draw_progress, progress_info
from results.plots.search.slices import ArmSlices, slices_info, visible_limit
from results.records.schema import trial_row
from results.records.store import RunStore
from search_spaces.metric import make_metric
from tests.fakes.results import START, make_space, make_trial, write_run, write_trial

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

NEW = ("curves_by_cost", "parameter_map", "progress", "importances", "time_use")
FULL_SAMPLES = 7200  # of RECIPE: 6 epochs of 1200; batches of 32 end 0 to 31 later


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return results.load(write_run(tmp_path_factory.mktemp("runs") / "run"))


def write_search(run_dir, trials, *, arm="poly"):
    """trials: (params, accuracy, options of write_trial, options of make_trial), 10 s apart."""
    manifest = {"spaces": [make_space(arm).to_dict()]}
    with RunStore.create(run_dir, manifest, "") as store:
        for number, (params, accuracy, written, made) in enumerate(trials):
            write_trial(
                store,
                make_trial(arm, params, **made),
                accuracy=accuracy,
                started_at=START + timedelta(seconds=10 * number),
                **written,
            )
    return results.load(run_dir)


def test_mean_band_is_the_t_interval_by_hand():
    mean_E, low_E, high_E = mean_band(np.array([[0.0, 1.0], [1.0, np.nan], [2.0, np.nan]]))
    half = 4.302652729911275 / np.sqrt(3)  # t(0.975, 2 degrees) * sd 1 / sqrt(3)
    assert mean_E.tolist() == [1.0, 1.0]
    assert low_E[0] == pytest.approx(1.0 - half)
    assert high_E[0] == pytest.approx(1.0 + half)
    assert np.isnan([low_E[1], high_E[1]]).all()


def test_curves_tell_samples_and_steps_since_the_start(run):
    for arm in curves_info(run):
        table = run.best(arm.name).schedule
        ends = [table.epoch_end(epoch) for epoch in range(1, 7)]
        steps = [len(list(table.steps(0, end))) for end in ends]
        assert arm.costs["steps"].tolist() == steps
        assert (arm.costs["samples"] - ends >= 0).all()
        assert (arm.costs["samples"] - ends < 32).all()


def test_steps_are_shown_only_where_batches_differ(run, tmp_path):
    assert costs_info(run) == ()
    with RunStore.create(tmp_path / "run", {}, "") as store:
        write_trial(store, make_trial(role="confirm"))
        grown = make_trial("batch", {"interval": 2, "factor": 0.7071, "split": 0.0})
        write_trial(store, grown)
    lr, batch = costs_info(results.load(tmp_path / "run"))
    assert lr.costs["steps"][-1] > batch.costs["steps"][-1]
    assert lr.costs["samples"][-1] == pytest.approx(batch.costs["samples"][-1], abs=128)


@pytest.mark.parametrize(
    ("free", "axes"),
    [
        (["delta0", "interval", "p"], ("p", "interval")),
        (["delta0", "interval"], ("delta0", "interval")),
        (["delta0", "end_ratio", "interval"], ("end_ratio", "interval")),
        (["delta0", "p", "split"], ("delta0", "p")),
        (["mine", "yours"], ("yours", "mine")),
    ],
)
def test_the_map_shows_the_two_parameters_that_say_most(free, axes):
    assert main_axes(free) == axes


def test_the_map_shows_a_number_of_the_training_before_the_interval():
    free = ["beta2", "delta0", "interval", "p"]
    assert main_axes(free, ("beta2",)) == ("p", "beta2")
    assert main_axes(["delta0", "interval", "knee"]) == ("knee", "interval")
    assert main_axes(["beta2", "interval"], ("beta2",)) == ("interval", "beta2")
    assert main_axes(["beta2", "weight_decay"], ("beta2", "weight_decay")) == (
        "weight_decay",
        "beta2",
    )


def test_many_parameters_are_axes_side_by_side():
    arm = ArmSlices(
        name="poly",
        objective_T=np.array([0.7, 0.9, 0.8]),
        is_diverged_T=np.array([True, False, False]),
        params={
            "beta2": np.array([0.9, 0.99, 0.9]),
            "delta0": np.array([1.0, 10.0, 100.0]),
            "interval": np.array([2.0, 2.0, 2.0]),
            "p": np.array([1.0, 2.0, 5.0]),
        },
        logs=frozenset({"delta0"}),
        chosen={},
        training=("beta2",),
    )
    figure = Figure(dpi=120)
    draw_parallel((arm,), figure)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        *("p", "interval", "delta0", "beta2"),
    ]
    lines = [line for line in axes.lines if len(line.get_xdata()) == 4]
    heights = {
        (line.get_linestyle(), line.get_linewidth() > 2): np.round(line.get_ydata(), 9).tolist()
        for line in lines
    }
    assert heights["--", False] == [0.0, 0.5, 0.0, 0.0]
    assert heights["-", True] == [0.25, 0.5, 0.5, 1.0]  # the best
    assert len(lines) == 4


def test_the_map_holds_every_full_search_trial_and_its_best(tmp_path):
    run = write_search(
        tmp_path / "run",
        [
            ({"p": 0.5, "interval": 2}, 0.8, {}, {}),
            ({"p": 1.5, "interval": 1}, 0.9, {}, {}),
            ({"p": 2.5, "interval": 3}, 0.9, {"status": "diverged"}, {}),
            ({"p": 3.5, "interval": 1}, 0.99, {}, {"horizon": 0.5}),
            ({"p": 3.6, "interval": 1}, 0.99, {"status": "failed"}, {}),
            ({"p": 3.7, "interval": 1}, 0.99, {"status": "running"}, {}),
        ],
    )
    (arm,) = parameter_map_info(run)
    assert (arm.x_name, arm.y_name) == ("p", "interval")
    assert arm.x_T.tolist() == [0.5, 1.5, 2.5]
    assert arm.y_T.tolist() == [2, 1, 3]
    assert arm.is_diverged_T.tolist() == [False, False, True]
    assert arm.best == 1
    (slices,) = slices_info(run)
    assert slices.objective_T.tolist() == arm.objective_T.tolist()


def test_a_space_with_one_free_parameter_has_no_map(tmp_path):
    manifest = {"spaces": [{**make_space("poly").to_dict(), "ranges": ONE_FREE}]}
    with RunStore.create(tmp_path / "run", manifest, "") as store:
        write_trial(store, make_trial())
    run = results.load(tmp_path / "run")
    assert parameter_map_info(run) == ()
    assert len(slices_info(run)) == 1


ONE_FREE = {
    "p": {"low": 0.1, "high": 4.0, "log": True},
    "interval": {"value": 1, "integer": True},
    "delta0": {"value": 0.1},
    "split": {"value": 1.0},
}


def test_progress_counts_all_samples_and_shows_full_trainings_only(tmp_path):
    run = write_search(
        tmp_path / "run",
        [
            ({"p": 0.5}, 0.99, {}, {"horizon": 0.5}),
            ({"p": 0.5}, 0.8, {}, {}),
            ({"p": 0.6}, 0.7, {}, {}),
            ({"p": 0.7}, 0.9, {"status": "failed"}, {}),
            ({"p": 0.8}, 0.9, {}, {}),
            ({"p": 0.8}, 0.99, {}, {"role": "select"}),
        ],
    )
    (arm,) = progress_info(run)
    expected = FULL_SAMPLES * np.array([1.5, 2.5, 3.5])
    assert (np.abs(arm.samples_T - expected) < 4 * 32).all()
    assert arm.best_T.tolist() == [arm.objective_T[0], arm.objective_T[0], arm.objective_T[2]]
    assert arm.objective_T[1] < arm.objective_T[0] < arm.objective_T[2]
    assert (arm.num_trials, arm.samples) == (4, arm.samples_T[-1])


def test_a_paused_training_spends_samples_but_is_no_result(tmp_path):
    manifest = {"spaces": [make_space("poly").to_dict()]}
    with RunStore.create(tmp_path / "run", manifest, "") as store:
        row = trial_row(
            "run",
            make_trial(params={"p": 0.5}),
            status="paused",
            attempt=0,
            outcome=None,
            epochs_done=3,
            host="fakehost",
            started_at=START,
            ended_at=START + timedelta(seconds=2),
            error=None,
            so_far={"objective": 0.99, "samples_seen": 3600},
        )
        store.add_trial(row)
        later = START + timedelta(seconds=60)
        write_trial(store, make_trial(params={"p": 1.0}), accuracy=0.8, started_at=later)
    run = results.load(tmp_path / "run")
    (arm,) = progress_info(run)
    assert arm.samples_T.tolist() == [3600 + FULL_SAMPLES]
    assert arm.best_T.max() < 0.85
    assert [len(arm.objective_T) for arm in parameter_map_info(run)] == [1]
    assert [len(arm.objective_T) for arm in slices_info(run)] == [1]


def test_progress_follows_the_order_of_the_ends(tmp_path):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        write_trial(store, make_trial(params={"p": 1.0}), started_at=START + timedelta(hours=1))
        write_trial(store, make_trial(params={"p": 2.0}), accuracy=0.5)
    (arm,) = progress_info(results.load(tmp_path / "run"))
    assert arm.objective_T[0] < 0.6 < arm.objective_T[1]


def test_the_best_so_far_stays_inside_the_axis_of_a_loss():
    loss_T = np.array([60.0, 5.9, 2.2, 2.1, 2.0, 1.9])
    arm = ArmProgress(
        name="poly", samples_T=np.arange(1.0, 7.0), objective_T=loss_T, best_T=loss_T,
        num_trials=6, samples=6, metric=make_metric("val_loss"), unit="tokens",
    )  # fmt: skip
    figure = Figure()
    draw_progress((arm,), figure)
    highest = visible_limit(loss_T, arm.metric)
    assert max(max(line.get_ydata(), default=0.0) for line in figure.axes[0].lines) == highest < 5
    assert figure.axes[0].get_xlabel().startswith("tokens the arm's search")


def test_time_is_split_into_training_validation_and_rest(run):
    poly, _, baseline = time_use_info(run).arms
    assert (poly.num_trials, poly.num_search) == (11, 8)  # of 4 s, with 6 epochs each
    assert poly.train_seconds == pytest.approx(11 * 6 * 0.5)
    assert poly.eval_seconds == pytest.approx(11 * 6 * 0.05)
    assert poly.other_seconds == pytest.approx(11 * (4 - 6 * 0.55))
    assert baseline.wall_seconds == pytest.approx(3 * 4)
    epoch = run.epochs.to_pylist()[0]
    assert poly.rate == pytest.approx(epoch["images_per_second"])  # the same in every epoch


@pytest.mark.parametrize(
    ("attempt", "train", "val"), [(2, 6 * 0.5, 6 * 0.05), (1, 2 * 0.5, 2 * 0.05)]
)
def test_time_of_trials_that_did_not_train_all_their_epochs_at_once(tmp_path, attempt, train, val):
    """1.2 s since the last start: two epochs and 0.1 s; four were trained before, or by others."""
    with RunStore.create(tmp_path / "run", {}, "") as store:
        write_trial(store, make_trial(), attempt=attempt, seconds=1.2)
    (arm,) = time_use_info(results.load(tmp_path / "run")).arms
    assert arm.train_seconds == pytest.approx(train)
    assert arm.eval_seconds == pytest.approx(val)
    assert arm.other_seconds == pytest.approx(0.1)


def test_time_of_training_is_known_without_the_epochs(tmp_path):
    run_dir = write_run(tmp_path / "run", arms=["poly"], trials=2, seeds=1, baseline=False)
    (run_dir / "epochs" / "00000.parquet").write_bytes(b"nonsense")
    (poly,) = time_use_info(results.load(run_dir)).arms
    assert poly.train_seconds == pytest.approx(3 * 6 * 0.5)


def test_slots_without_a_trial_are_known_from_the_events(tmp_path):
    run_dir = write_run(tmp_path / "run", arms=["poly"], trials=2, seeds=1, baseline=False)
    start = {"kind": "start", "time": "2026-11-21T07:00:00+00:00", "slots": {"max_concurrent": 2}}
    end = {"kind": "end", "time": "2026-11-21T07:01:00+00:00"}
    again = {**start, "time": "2026-11-21T09:00:00+00:00"}
    done = {**end, "time": "2026-11-21T09:00:10+00:00"}
    events = run_dir / "events.jsonl"
    events.write_text("\n".join(map(json.dumps, [start, end, again, done])))
    info = time_use_info(results.load(run_dir))
    assert info.slot_seconds == 2 * 60 + 2 * 10
    assert info.idle_seconds == pytest.approx(140 - 3 * 4)
    events.write_text(json.dumps(start))
    assert np.isnan(time_use_info(results.load(run_dir)).idle_seconds)


def test_importances_sum_to_one_and_lie_within_their_range(run):
    for arm in importances_info(run).arms:
        assert sum(arm.share.values()) == pytest.approx(1.0)
        assert list(arm.share.values()) == sorted(arm.share.values(), reverse=True)
        assert all(arm.low[n] <= arm.share[n] <= arm.high[n] for n in arm.share)
        assert arm.num_trials == 8


def test_importances_find_the_parameter_that_matters(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.uniform(0.2, 3.9, size=(30, 2))
    trials = [
        ({"p": p, "delta0": 0.1 * d, "interval": 1}, 0.5 + 0.1 * p, {}, {}) for p, d in points
    ]
    importance = importances(write_search(tmp_path / "run", trials), "poly")
    assert next(iter(importance.share)) == "p"
    assert importance.share["p"] > 0.8


def test_importances_are_optunas_of_the_study(tmp_path):
    rng = np.random.default_rng(1)
    trials = [
        ({"p": p, "delta0": 0.1 * d, "interval": 1}, 0.5 + 0.1 * p * d, {}, {})
        for p, d in rng.uniform(0.2, 3.9, size=(20, 2))
    ]
    run = write_search(tmp_path / "run", trials)
    forest = FanovaImportanceEvaluator(n_trees=MOST_TREES, seed=SEED)
    theirs = get_param_importances(run.to_study("poly"), evaluator=forest)
    assert importances(run, "poly").share == pytest.approx(theirs)


def test_importances_of_many_configs_are_of_some_drawn_at_random(tmp_path, monkeypatch):
    trials = [({"p": 0.1 + 0.1 * t}, 0.8 + 0.001 * t, {}, {}) for t in range(20)]
    run = write_search(tmp_path / "run", trials)
    monkeypatch.setattr("results.plots.search.importances.MAX_TRIALS", 10)
    info = importances_info(run)
    assert [arm.num_trials for arm in info.arms] == [10]
    assert "10 configs" in IMPORTANCES.caption(info)


def test_importances_are_refused_politely(tmp_path):
    few = [({"p": 0.1 + 0.1 * t}, 0.8, {}, {}) for t in range(MIN_TRIALS - 1)]
    run = write_search(tmp_path / "few", few)
    info = importances_info(run)
    assert info.arms == ()
    assert info.refused == (
        "poly: importances need 8 finished search trials of full length, but it has 7.",
    )
    with pytest.raises(ValueError, match="pol"):
        importances(run, "pol")


@pytest.mark.parametrize("name", NEW)
def test_a_figure_is_1200_pixels_wide_and_has_a_title(tmp_path, name):
    with RunStore.create(
        tmp_path / "run", {"spaces": [make_space("poly").to_dict()]}, ""
    ) as store:
        for number in range(9):
            params = {"p": 0.2 + 0.3 * number, "split": 1.0, "interval": 1 + number % 2}
            write_trial(store, make_trial(params=params), accuracy=0.8 + 0.01 * number)
        write_trial(store, make_trial(params={"p": 3.0}), status="diverged")
        write_trial(store, make_trial("batch", {"interval": 2, "factor": 0.7, "split": 0.0}))
    info = PLOTS[name].info(results.load(tmp_path / "run"))
    assert arms_of(info)
    figure = Figure(dpi=120)
    PLOTS[name].draw(info, figure)
    assert figure.get_size_inches()[0] * figure.dpi == 1200
    assert figure.get_suptitle()
