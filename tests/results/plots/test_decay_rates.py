"""The figure of decay rates: its numbers by hand, and that it draws every kind of schedule."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

import results
from results.measurements.published import published_curves, published_schedules
from results.plots.papers.decay_rates import (
    DecayRatesInfo,
    decay_rates_info,
    decay_rates_info_of_run,
    draw_decay_rates,
)
from results.records.store import RunStore
from search_spaces import FAMILIES
from search_spaces.schedule import Schedule, make_schedule
from search_spaces.theory import largest_admissible_a
from tests.fakes.results import write_run


def poly(p: float = 1.0, **kwargs: object) -> Schedule:
    known = {"epochs": 4, "train_examples": 100, "interval": 1, "lr0": 0.2, "batch0": 10}
    return make_schedule(functools.partial(FAMILIES["poly"], p=p), **known | kwargs)


@pytest.fixture(scope="module")
def papers() -> dict[str, Schedule]:
    return published_schedules()


def test_levels_and_rates_are_those_of_each_epoch() -> None:
    (arm,) = decay_rates_info({"poly": poly()}, 2.0).arms
    np.testing.assert_allclose(arm.level_E, [1, 0.75, 0.5, 0.25])
    np.testing.assert_allclose(arm.decay_rate_E, [1, 0.75, 2 / 3, 0.5])


def test_an_interval_holds_its_level_and_shows_its_drop_once() -> None:
    (arm,) = decay_rates_info({"poly": poly(interval=2)}, 2.0).arms
    np.testing.assert_allclose(arm.level_E, [1, 1, 0.5, 0.5])
    np.testing.assert_allclose(arm.decay_rate_E, [1, 1, 0.5, 1])


def test_a_decay_by_the_batch_shows_as_one_by_lr() -> None:
    # Batches 10 * (1/d)^2 stay below the 10,000 images: nothing is capped.
    lr, batch = decay_rates_info(
        {s: poly(split=s, train_examples=10_000) for s in (1.0, 0.0)}, 2.0
    ).arms
    np.testing.assert_allclose(lr.decay_rate_E, batch.decay_rate_E, rtol=1e-12)


def test_the_first_rate_at_or_below_the_bound_leaves_the_region() -> None:
    # Rates 1, 3/4, 2/3, 1/2 against an L(a) just below, at, and above each.
    for rate, epoch in ((0.49, None), (0.51, 3), (0.67, 2), (0.76, 1)):
        info = decay_rates_info({"poly": poly()}, largest_admissible_a(rate))
        assert info.arms[0].leaves_at == epoch
    assert info.leavers == {"poly": 1}


def test_each_epoch_is_held_against_its_own_a() -> None:
    narrow, wide = largest_admissible_a(0.7), largest_admissible_a(0.1)
    info = decay_rates_info({"poly": poly()}, [narrow, narrow, wide, wide])
    assert info.leavers == {}
    np.testing.assert_allclose(info.smallest_rate_E, [0.7, 0.7, 0.1, 0.1])
    assert decay_rates_info({"poly": poly()}, [wide, wide, narrow, wide]).leavers == {"poly": 2}


def test_schedules_of_different_length_are_held_against_the_same_epochs() -> None:
    info = decay_rates_info({"short": poly(epochs=2), "long": poly()}, 2.0)
    assert [len(arm.level_E) for arm in info.arms] == [2, 4]
    assert len(info.a_E) == 4


def test_warmup_rises_and_leaves_nothing() -> None:
    info = decay_rates_info({"poly": poly(0.1, epochs=6, warmup_epochs=2)}, 1.5)
    assert info.arms[0].decay_rate_E.max() > 1
    assert info.leavers == {}


@pytest.mark.parametrize(
    ("a", "message"), [(1.4, r"`a >= sqrt\(2\)`"), ([2.0] * 3, r"\(a=3, epochs=4\)")]
)
def test_an_impossible_a_is_refused(a: float | list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decay_rates_info({"poly": poly()}, a)


def test_the_papers_schedules_have_the_papers_rates(papers: dict[str, Schedule]) -> None:
    arms = {arm.name: arm for arm in decay_rates_info(papers, 3.0).arms}
    assert len(arms["cosine"].decay_rate_E) == 200
    assert arms["cosine"].decay_rate_E[199] == pytest.approx(0.25001542)  # R25
    assert arms["p=1"].decay_rate_E[199] == pytest.approx(0.5)  # R7
    np.testing.assert_allclose(arms["exp"].decay_rate_E[1:], 0.94)
    step = arms["step"].decay_rate_E
    np.testing.assert_allclose(step[[40, 80, 120, 160]], math.sqrt(0.5))
    assert np.delete(step, [40, 80, 120, 160]) == pytest.approx(1.0)
    assert arms["cosine_power"].level_E[100] == pytest.approx(0.2402530734)  # R5


@pytest.mark.parametrize(
    ("rate", "leave", "stay"),
    [
        # The last rate of a polynomial is 2^-p: .933 for .1, .707 for .5, .5 for 1.
        (0.3, {"p=2", "p=4", "p=8", "cosine", "cosine_power"}, {"p=1", "p=0.9", "step", "exp"}),
        (0.6, {"p=1", "p=0.9"}, {"p=0.5", "p=0.1", "step", "exp"}),
        (0.72, {"p=0.5", "step"}, {"p=0.1", "exp"}),
        (0.9335, {"p=0.1"}, {"exp"}),
        (0.941, {"exp"}, set()),
    ],
)
def test_schedules_leave_the_region_in_the_order_of_their_fastest_decay(
    papers: dict[str, Schedule], rate: float, leave: set[str], stay: set[str]
) -> None:
    leavers = decay_rates_info(papers, largest_admissible_a(rate)).leavers
    assert leave <= set(leavers)
    assert not stay & set(leavers)


def test_polynomials_leave_the_earlier_the_higher_their_power(
    papers: dict[str, Schedule],
) -> None:
    """The papers' reading of their figure: p <= 1 stays longest in the region."""
    powers = [name for name in papers if name.startswith("p=")]
    leavers = decay_rates_info(papers, largest_admissible_a(0.951)).leavers
    # Epoch t is entered at ((200-t)/(201-t))^p: at .951 or less from 201 - 1/(1 - .951^(1/p)).
    first = [math.ceil(201 - 1 / (1 - 0.951 ** (1 / float(name[2:])))) for name in powers]
    assert [leavers[name] for name in powers] == first


SLOWEST_LAST = ["cosine", "p=1", "p=0.9", "p=0.5", "p=0.1"]


@pytest.mark.parametrize("a", [17.16, 18.0, 20.0, 21.0])
def test_from_17_on_a_constant_a_orders_the_papers_schedules(
    papers: dict[str, Schedule], a: float
) -> None:
    leavers = decay_rates_info(papers, a).leavers
    ordered = sorted(leavers, key=lambda name: (leavers[name], name == "cosine"))
    assert ordered == ["exp", "step", "p=8", "p=4", "cosine_power", "p=2", *SLOWEST_LAST]
    # The published losses (step and cosine power have none): so but for p = 0.1.
    losses = {c.label: c.last_train_loss for c in published_curves()}
    named = {c.family if c.family != "poly" else f"p={c.params['p']:g}": losses[c.label]
             for c in published_curves() if c.family}  # fmt: skip
    shared = [name for name in ordered if name in named and name != "p=0.1"]
    assert len(shared) == 8
    assert [named[name] for name in shared] == sorted((named[n] for n in shared), reverse=True)


@pytest.mark.parametrize("a", [22.0, 30.0, 100.0])
def test_beyond_21_step_leaves_later_and_the_others_keep_their_order(
    papers: dict[str, Schedule], a: float
) -> None:
    leavers = decay_rates_info(papers, a).leavers
    slower = ["p=8", "p=4", "cosine_power", "cosine", "p=1", "p=0.9", "p=0.5", "p=0.1"]
    epochs = [leavers[name] for name in ("exp", *slower)]
    assert epochs == sorted(epochs)
    assert leavers["step"] == 40 > leavers["p=8"]


def draw(info: DecayRatesInfo) -> Figure:
    figure = Figure(dpi=120)
    draw_decay_rates(info, figure)
    figure.canvas.draw()
    return figure


@pytest.mark.slow
def test_the_figure_names_every_schedule_and_where_it_leaves(
    papers: dict[str, Schedule],
) -> None:
    figure = draw(decay_rates_info(papers, 3.0))
    assert figure.get_size_inches()[0] * figure.dpi == 1200
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "p=0.1"
    assert "p=8, leaves at 185" in labels  # 201 - 1/(1 - .6095^(1/8)) = 184.3
    assert labels[-1] == "L(a) = 0.609 to 1, a = 3"
    colors = {line.get_color() for line in figure.axes[1].lines}
    assert len(colors) == len(papers)
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= 1200


@pytest.mark.parametrize(
    "schedules",
    [
        {"poly": poly(epochs=1)},
        {"cosine": poly(), "p=1": poly(epochs=100), "p=0.5": poly(epochs=6, warmup_epochs=1)},
    ],
)
def test_short_long_and_warmed_up_schedules_draw(schedules: dict[str, Schedule]) -> None:
    draw(decay_rates_info(schedules, [3.0] * max(s.num_epochs for s in schedules.values())))


def test_a_run_shows_what_its_chosen_configs_used(tmp_path) -> None:
    run = results.load(write_run(tmp_path / "run"))
    info = decay_rates_info_of_run(run, 3.0)
    assert [arm.name for arm in info.arms] == ["poly", "cosine", "baseline"]
    planned = decay_rates_info({a.name: run.best(a.name).schedule for a in info.arms}, 3.0)
    for used, plan in zip(info.arms, planned.arms, strict=True):
        np.testing.assert_allclose(used.decay_rate_E, plan.decay_rate_E, rtol=1e-12)
        assert used.leaves_at == plan.leaves_at
    draw(info)


def test_an_empty_run_has_nothing_to_show(tmp_path) -> None:
    RunStore.create(tmp_path / "run", {}, "").close()
    assert decay_rates_info_of_run(results.load(tmp_path / "run"), 3.0).arms == ()
