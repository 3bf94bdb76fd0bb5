"""Figures of the papers' measurements: the numbers they show, and that they draw."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.special import ndtr
from scipy.stats import spearmanr

import results
from results.measurements.noise import read_noise
from results.measurements.sampling import read_sampling
from results.measurements.sharpness import Panel, read_sharpness
from results.plots import PLOTS, save_plots
from results.plots.papers.decay_rates import decay_rates_plot
from results.plots.papers.noise import noise_info
from results.records.schema import epoch_row
from results.records.store import RunStore
from tests.fakes.measurements import (
    NUM_PARAMS,
    T_2,
    constant_trial,
    noise,
    record,
    sample,
    write_measured,
)
from tests.fakes.results import make_epochs, write_run, write_trial

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

NEW_FIGURES = ("sharpness", "sampling", "noise", "realised", "critical")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_measured(tmp_path_factory.mktemp("runs") / "measured")


def test_sharpness_is_correlated_between_configs_not_seeds(run):
    info = read_sharpness(run)
    assert (len(info.arms), info.num_trainings, info.num_left_out) == (6, 18, 1)
    # sharpness = batch / lr, delta = lr / sqrt(batch): of configs in the order of the loops
    batch, lr = [8, 32, 128] * 2, [0.1] * 3 + [0.5] * 3
    sharp = [b / r for b, r in zip(batch, lr, strict=True)]
    delta = [r / math.sqrt(b) for b, r in zip(batch, lr, strict=True)]
    expected = {"batch_size": batch, "lr": lr, "delta": delta}
    for quantity, values in expected.items():
        correlation = info.correlations[Panel(quantity, "sharpness")]
        assert correlation.n == 6
        assert correlation.rho == pytest.approx(spearmanr(values, sharp).statistic)
    assert info.is_constant
    assert "0.0002 * |w|, 64 images in batches of 32" in info.setting


def test_accuracy_is_best_at_the_delta_of_the_best_mean(tmp_path):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        record(store, constant_trial(0.1, 16), accuracy=0.7, sharpness_loss=0.1)
        record(store, constant_trial(0.4, 16), accuracy=0.9, sharpness_loss=0.2)
        record(store, constant_trial(0.8, 16), accuracy=0.8, sharpness_loss=math.inf)
    info = read_sharpness(results.load(tmp_path / "run"))
    assert info.best_delta == pytest.approx(0.1)
    assert info.num_left_out == 1
    assert [arm.values["test_accuracy"].tolist() for arm in info.arms] == [[0.7], [0.9]]


def test_noise_is_described_at_the_last_measured_epoch(run):
    arms = read_sampling(run)
    assert [arm.batch_size for arm in arms] == [8, 8, 32, 32, 128, 128]
    first = arms[0]
    assert (first.epoch, first.num_batches, first.num_params) == (6, 2, NUM_PARAMS)
    assert first.excess_kurtosis.mean == pytest.approx(9)
    assert first.skewness.mean == pytest.approx(0, abs=1e-12)
    assert (first.ks.mean, first.ks.n) == (pytest.approx(0.2), 3)


def test_scaled_noise_norms_have_t_intervals_over_seeds(run):
    # norms 1, 2, 3 of the three seeds in epoch 2, one more in epoch 6
    arm = read_sampling(run)[0]
    for epoch, norm in {2: 2.0, 6: 3.0}.items():
        mean = arm.scaled_norm[epoch]
        assert mean.mean == pytest.approx(math.sqrt(8) * norm)
        assert mean.low == pytest.approx(math.sqrt(8) * (norm - T_2 / math.sqrt(3)))


def test_the_density_of_normal_noise_is_normal_and_misses_what_lies_beyond(tmp_path):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        record(store, constant_trial(), epochs={6: sample(scale=2.0)})
    (arm,) = read_sampling(results.load(tmp_path / "run"))
    inside = float(arm.density @ np.diff(arm.edges))
    assert inside == pytest.approx(ndtr(2.5) - ndtr(-2.5))
    assert arm.density.max() == pytest.approx(1 / (2 * math.sqrt(2 * math.pi)), rel=1e-3)


@pytest.mark.parametrize(
    ("ks", "kurtosis", "is_normal", "heavy"),
    [(0.008, 0.0, True, False), (0.2, 9.0, False, True), (0.2, -1.0, False, False)],
)
def test_noise_is_called_normal_by_its_distance_and_heavy_by_its_kurtosis(
    tmp_path, ks, kurtosis, is_normal, heavy
):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        record(store, constant_trial(), epochs={6: sample(ks=ks, kurtosis=kurtosis)})
    (arm,) = read_sampling(results.load(tmp_path / "run"))
    assert arm.ks_of_normal == pytest.approx(0.895 / (100 - 0.01 + 0.0085))  # Stephens 1974
    assert (arm.is_normal, arm.has_heavy_tails) == (is_normal, heavy)


def test_noise_that_is_not_finite_is_left_out(tmp_path):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        record(store, constant_trial(), epochs={2: sample(1.0), 6: sample(math.nan)})
        record(store, constant_trial(0.5), epochs={6: sample(math.nan)})
    (arm,) = read_sampling(results.load(tmp_path / "run"))
    assert arm.epoch == 2


def test_curves_of_the_noise_constant_have_the_measurements_interval_for_one_seed(tmp_path, run):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        record(store, constant_trial(), epochs={2: noise(4.0), 6: noise(8.0)})
    (arm,) = noise_info(results.load(tmp_path / "run"))
    assert (arm.c2.low_E.tolist(), arm.c2.high_E.tolist()) == ([2.0, 4.0], [6.0, 12.0])
    assert np.isnan(arm.gradient_norm.low_E).all()
    several = noise_info(run)[0]
    assert several.epoch_E.tolist() == [2, 6]
    assert several.c2.mean_E.tolist() == [801, 3 * 801]
    assert several.c2.high_E[0] == pytest.approx(801 + T_2 / math.sqrt(3))


@pytest.mark.parametrize("name", NEW_FIGURES)
def test_a_figure_of_measurements_is_titled_and_keeps_its_text_inside(run, name):
    figure = Figure(dpi=120)
    FigureCanvasAgg(figure)
    PLOTS[name].draw(PLOTS[name].info(run), figure)
    figure.canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    assert width == 1200
    assert figure.get_suptitle()
    texts = [t for axes in figure.axes for t in axes.texts] + figure.texts
    boxes = [artist.get_window_extent() for artist in [*texts, *figure.legends]]
    assert all(box.x0 >= 0 and box.x1 <= width for box in boxes)
    assert all(box.y0 >= 0 and box.y1 <= height for box in boxes)


def test_the_method_of_the_sharpness_figure_leaves_its_legend_alone(run):
    info = PLOTS["sharpness"].info(run)
    # As long as four learning rates with C^2 of four batches each make it.
    setting = "C^2 measured at each learning rate, the geometric mean over its batches (smallest "
    setting += "and largest of them): " + ", ".join(["204.9 (180 to 273) at 0.01"] * 4)
    first = info.arms[0]
    lrs = [np.full_like(first.values["lr"], lr) for lr in (0.01, 0.05, 0.1, 0.5)]
    arms = [replace(first, values=first.values | {"lr": lr_R}) for lr_R in lrs]
    figure = Figure(dpi=120, layout="constrained")
    PLOTS["sharpness"].draw(replace(info, c2_setting=setting, arms=tuple(arms)), figure)
    figure.draw_without_rendering()
    (axes,) = (axes for axes in figure.axes if axes.get_legend())
    (method,) = axes.texts
    assert not method.get_window_extent().overlaps(axes.get_legend().get_window_extent())


def test_the_figures_say_n_and_the_kind_of_interval(run):
    figures = {name: Figure() for name in NEW_FIGURES}
    for name, figure in figures.items():
        PLOTS[name].draw(PLOTS[name].info(run), figure)
    texts_of = {
        name: " ".join(
            [figure.get_suptitle()]
            + [axes.get_title() for axes in figure.axes]
            + [text.get_text() for axes in figure.axes for text in axes.texts]
            + [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        )
        for name, figure in figures.items()
    }
    assert "n=6" in texts_of["sharpness"]
    assert "Fisher z" in texts_of["sharpness"]
    for name in ("sampling", "noise"):
        assert "n=3" in texts_of[name]
        assert "t-intervals over seeds" in texts_of[name]
    assert "n=3" in texts_of["critical"]
    assert "smallest to largest seed" in texts_of["critical"]


@pytest.mark.full
def test_a_run_shows_the_figures_of_what_it_measured(run, tmp_path):
    names = {path.stem for path in save_plots(run, tmp_path / "plots")}
    ordinary = {"curves", "curves_by_cost", "schedules", "differences", "time_use"}
    assert names == {*ordinary, *NEW_FIGURES}


def test_a_run_without_measurements_has_none_of_their_figures(tmp_path):
    run = results.load(write_run(tmp_path / "run", trials=1, seeds=1))
    assert not any(PLOTS[name].info(run) for name in ("sampling", "noise", "critical"))
    assert PLOTS["sharpness"].info(run).arms == ()


def test_an_unfinished_training_draws(tmp_path):
    trial = constant_trial()
    with RunStore.create(tmp_path / "run", {}, "") as store:
        write_trial(store, trial, status="running", epochs=1)
        row = replace(make_epochs(trial, 0.5)[1], **noise(3.0), **sample())
        store.add_epochs([epoch_row(store.run_id, trial, 0, row)])
    run = results.load(tmp_path / "run")
    assert read_noise(run) == {}
    assert {"sampling", "noise"} <= {path.stem for path in save_plots(run, tmp_path / "plots")}


def test_decay_rates_are_shown_where_something_decays_and_name_their_assumption(run, tmp_path):
    plot = PLOTS["decay_rates"]
    assert plot.info(run).arms == ()
    info = plot.info(results.load(write_run(tmp_path / "run", trials=1, seeds=1)))
    assert [arm.name for arm in info.arms] == ["poly", "cosine", "baseline"]
    figure = Figure()
    plot.draw(info, figure)
    assert "a = 3 assumed; no source gives its value" in figure.get_suptitle()


def test_the_constant_a_of_a_runs_figure_may_be_asked_for(tmp_path):
    """At a = 10 the region begins at L = .8950 (PAPERS.md R24), at the assumed 3 at .6095."""
    plot = decay_rates_plot(10.0)
    info = plot.info(results.load(write_run(tmp_path / "run", trials=1, seeds=1)))
    assert info.smallest_rate_E[0] == pytest.approx(0.8949874)
    figure = Figure()
    plot.draw(info, figure)
    assert "a = 10 asked for; no source gives its value" in figure.get_suptitle()
    with pytest.raises(ValueError, match="a >= sqrt"):
        decay_rates_plot(1.0)


def test_an_empty_run_correlates_nothing(tmp_path):
    RunStore.create(tmp_path / "run", {}, "").close()
    info = read_sharpness(results.load(tmp_path / "run"))
    assert info.arms == ()
    assert all(correlation.n == 0 for correlation in info.correlations.values())


def test_points_of_a_space_are_drawn_in_their_order(tmp_path):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        for batch in (32, 8, 128):
            record(store, constant_trial(0.1, batch), epochs={2: noise(1.0)})
    arms = noise_info(results.load(tmp_path / "run"))
    assert [arm.name for arm in arms] == [f"lr_batch batch0={b},lr0=0.1" for b in (8, 32, 128)]
