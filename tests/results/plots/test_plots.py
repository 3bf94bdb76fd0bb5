"""Figures: the numbers they show, and that every one draws on every kind of run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

import results
from results.plots import PLOTS, save_plots, write_along_edge
from results.plots.arms.curves import curves_info
from results.plots.arms.differences import DIFFERENCES, differences_info, draw_differences
from results.plots.arms.schedules import schedules_info
from results.plots.search.slices import slices_info
from results.plots.style import COLORS, GREY, color_of
from results.records.schema import epoch_row
from results.records.store import RunStore
from search_spaces import SPACES
from search_spaces.metric import make_metric
from tests.fakes.results import make_epochs, make_trial, write_run, write_trial

pytestmark = pytest.mark.slow  # the file takes more than a few seconds


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return results.load(write_run(tmp_path_factory.mktemp("runs") / "run"))


def test_curves_hold_every_confirm_seed(run):
    info = curves_info(run)
    assert [arm.name for arm in info] == ["poly", "cosine", "baseline"]
    assert all(arm.metrics["val_accuracy"].shape == (3, 6) for arm in info)
    assert all(np.isfinite(arm.metrics["train_loss"]).all() for arm in info)


def test_curves_before_confirmation_show_the_best_search_trial(tmp_path):
    run = results.load(write_run(tmp_path / "run", seeds=0, baseline=False))
    assert [(arm.role, arm.num_seeds) for arm in curves_info(run)] == [("search", 1)] * 2


def test_schedules_show_what_was_used(run):
    for arm in schedules_info(run):
        table = run.best(arm.name).schedule
        stage_E = [table.stage_at(1200 * (epoch + 1) - 1) for epoch in range(6)]
        assert arm.used["lr"].tolist() == table.lr_S[stage_E].tolist()
        assert arm.used["delta"].tolist() == table.delta_S[stage_E].tolist()


def test_slices_hold_one_point_per_search_trial(run):
    poly, cosine = slices_info(run)
    assert set(poly.params) == {"delta0", "interval", "p"}
    assert set(cosine.params) == {"delta0", "interval"}
    assert len(poly.objective_T) == 8
    assert poly.logs == {"delta0", "interval", "p"}


@pytest.mark.parametrize(
    ("metric", "ending"),
    [("test_accuracy", " [points], higher is better"), ("test_loss", " [nats], lower is better")],
)
def test_the_axis_of_differences_says_which_way_is_better(run, metric, ending):
    figure, info = Figure(), replace(differences_info(run), metric=make_metric(metric))
    draw_differences(info, figure)
    assert figure.axes[0].get_xlabel().endswith(ending)
    assert ending.partition(", ")[2] in DIFFERENCES.caption(info)
    assert ending.partition(", ")[2] in DIFFERENCES.table(info).caption


def test_differences_are_those_of_the_comparison(run):
    comparison = run.compare()
    expected = {arm.name: arm.difference for arm in comparison.arms}
    info = differences_info(run)
    assert {arm.name: arm.difference for arm in info.arms} == {
        name: difference for name, difference in expected.items() if difference
    }
    assert info.min_effect == comparison.min_effect


# Figures of an ordinary run; those of measurements have tests of their own.
DRAWN = (
    *("curves", "schedules", "parameter_map", "progress", "importances", "slices"),
    *("differences", "time_use", "decay_rates"),
)


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_is_1200_pixels_wide_and_has_a_title(run, name):
    figure, plot = Figure(dpi=120), PLOTS[name]
    plot.draw(plot.info(run), figure)
    assert figure.get_size_inches()[0] * figure.dpi == 1200
    titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    assert any(titles)


@pytest.mark.full
def test_all_figures_with_something_to_show_are_saved_in_all_formats(run, tmp_path):
    written = save_plots(run, tmp_path / "plots", ("png", "svg"))
    assert {path.name for path in written} == {f"{n}.{k}" for n in DRAWN for k in ("png", "svg")}
    assert all(path.stat().st_size > 1000 for path in written)


@pytest.mark.parametrize("num_words", [1, 15, 60])
def test_what_was_trained_stands_whole_along_the_edge_of_a_low_figure(num_words):
    figure = Figure(figsize=(10, 5), dpi=120)
    text = " ".join(["resnet8"] * num_words)
    lines = write_along_edge(figure, text)
    assert (lines > 1) == (num_words > 1)
    (edge,) = figure.texts
    assert edge.get_text().split() == text.split()
    box = edge.get_window_extent()
    assert 0 <= box.y0 < box.y1 <= figure.bbox.height
    assert box.x0 > (0.995 - 0.015 * lines) * figure.bbox.width  # what is left for the axes


def test_an_empty_run_has_no_figures(tmp_path):
    RunStore.create(tmp_path / "run", {}, "").close()
    assert save_plots(results.load(tmp_path / "run"), tmp_path / "plots") == []


def test_a_run_of_one_unfinished_diverged_and_one_epoch_trials_draws(tmp_path):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        write_trial(store, make_trial(), status="diverged", epochs=1)
        write_trial(store, make_trial(role="confirm"), status="running", epochs=1)
        write_trial(store, make_trial("baseline", role="confirm"), accuracy=0.9)
    assert save_plots(results.load(tmp_path / "run"), tmp_path / "plots")


def test_unbounded_losses_do_not_break_the_curves(tmp_path):
    trial = make_trial(role="confirm")
    with RunStore.create(tmp_path / "run", {}, "") as store:
        write_trial(store, trial, status="diverged")
        for record in make_epochs(trial, 0.5)[2:]:
            broken = replace(record, train_loss=float("inf"), val_loss=float("nan"))
            store.add_epochs([epoch_row("run", trial, 0, broken)])
    run = results.load(tmp_path / "run")
    (arm,) = curves_info(run)
    assert np.isfinite(arm.metrics["val_loss"]).sum() == 2
    assert save_plots(run, tmp_path / "plots")


def test_every_space_has_its_own_colour_and_the_baseline_is_grey():
    assert set(COLORS) == {*SPACES, "baseline"}
    assert {color_of(n) for n in ("baseline", "baseline_tuned", "baseline:my own")} == {GREY}
    assert color_of("my_space") == color_of("my_space") != GREY
