"""Successive halving: how many are promoted, who, and when."""

from __future__ import annotations

import random

import pytest

from tuner.campaign.halving import Halving
from tuner.plan.ladder import Ladder, geometric_horizons

NINE = Ladder(horizons=(1 / 9, 1 / 3, 1.0), eta=3)


def run(halving: Halving, scores: dict[str, float], at_once: int = 1) -> list[tuple[str, int]]:
    """Ask first, promote when nothing is to be asked; the trainings in the order they began."""
    waiting = list(scores)
    live: list[tuple[str, int]] = []
    begun: list[tuple[str, int]] = []
    while True:
        while len(live) < at_once:
            task = (waiting.pop(0), 0) if waiting else halving.promotion(closed=True)
            if task is None:
                break
            halving.start(*task)
            live.append(task)
            begun.append(task)
        if not live:
            return begun
        config, rung = live.pop(0)
        halving.end(config, rung, scores[config])


def counts(begun: list[tuple[str, int]]) -> list[int]:
    return [sum(rung == level for _, rung in begun) for level in range(3)]


@pytest.mark.parametrize(
    ("configs", "keep", "sizes"),
    [(27, 1, [27, 9, 3]), (20, 1, [20, 6, 2]), (4, 1, [4, 1, 1]), (20, 4, [20, 6, 4]),
     (1, 3, [1, 1, 1])],
)  # fmt: skip
def test_one_in_eta_is_promoted_and_at_least_keep(
    configs: int, keep: int, sizes: list[int]
) -> None:
    ladder = Ladder(horizons=NINE.horizons, eta=3, keep=keep, fidelity="squeezed", epochs=9)
    assert ladder.sizes(configs) == sizes
    # Of 9 epochs of one sample: 1 on the lowest rung, 3 on the next, 9 in full.
    assert ladder.samples(configs) == sizes[0] * 1 + sizes[1] * 3 + sizes[2] * 9


def test_horizons_are_in_equal_ratios_from_the_lowest_to_one() -> None:
    assert geometric_horizons(3, 3) == pytest.approx((1 / 9, 1 / 3, 1))
    assert geometric_horizons(4, 2) == pytest.approx((1 / 8, 1 / 4, 1 / 2, 1))
    assert geometric_horizons(3, 3, 0.25) == pytest.approx((0.25, 0.5, 1))


@pytest.mark.parametrize("at_once", [1, 2, 5, 40])
def test_the_budget_is_the_planned_one_however_many_train_at_once(at_once: int) -> None:
    scores = {f"c{i}": random.Random(i).random() for i in range(20)}
    begun = run(Halving(NINE, 20), scores, at_once)
    assert counts(begun) == [20, 6, 2]


def test_with_the_lowest_rung_full_the_best_are_promoted() -> None:
    scores = {f"c{i:02}": float(i) for i in range(27)}
    begun = run(Halving(NINE, 27), scores)
    assert {c for c, rung in begun if rung == 1} == {f"c{i:02}" for i in range(18, 27)}
    assert {c for c, rung in begun if rung == 2} == {"c24", "c25", "c26"}


def test_before_the_rung_is_full_only_the_best_third_so_far_may_rise() -> None:
    halving = Halving(NINE, 27)
    for config, score in (("a", 0.1), ("b", 0.9)):
        halving.start(config)
        halving.end(config, 0, score)
    assert halving.promotion(closed=False) is None
    halving.start("c")
    halving.end("c", 0, 0.5)
    assert halving.promotion(closed=False) == ("b", 1)


def test_the_higher_rung_is_promoted_first() -> None:
    halving = Halving(NINE, 27)
    for number in range(9):
        halving.start(f"c{number}")
        halving.end(f"c{number}", 0, float(number))
    for number in (8, 7, 6):
        halving.start(f"c{number}", 1)
        halving.end(f"c{number}", 1, float(number))
    assert halving.promotion(closed=False) == ("c8", 2)


def test_a_lost_training_gives_its_place_to_the_next_best() -> None:
    halving = Halving(NINE, 3)
    for number in range(3):
        halving.start(f"c{number}")
        halving.end(f"c{number}", 0, float(number))
    assert halving.promotion(closed=True) == ("c2", 1)
    halving.start("c2", 1)
    halving.lose("c2", 1)
    assert halving.promotion(closed=True) == ("c1", 1)


def test_a_training_that_cannot_go_on_is_never_promoted() -> None:
    halving = Halving(NINE, 3)
    for number in range(3):
        halving.start(f"c{number}")
        halving.end(f"c{number}", 0, float(number), stuck=number == 2)
    assert halving.promotion(closed=True) == ("c1", 1)


def test_one_rung_promotes_nobody() -> None:
    halving = Halving(Ladder(), 2)
    halving.start("a")
    halving.end("a", 0, 1.0)
    assert halving.promotion(closed=True) is None
    assert halving.rungs[-1].scores == {"a": 1.0}


def scored(halving: Halving, rung: int, *numbers: int) -> None:
    """Trainings of these configs on this rung; the number is the score."""
    for number in numbers:
        halving.start(f"c{number}", rung)
        halving.end(f"c{number}", rung, float(number))


def test_open_trainings_of_all_rungs_are_counted() -> None:
    halving = Halving(NINE, 9)
    assert halving.num_open == 0
    scored(halving, 0, 1, 2, 3)
    halving.start("c4")
    halving.start("c3", 1)
    assert halving.num_open == 2


def test_a_rung_is_over_full_with_more_than_planned() -> None:
    halving = Halving(NINE, 9)
    scored(halving, 0, *range(9))
    scored(halving, 1, 6, 7, 8)
    assert [halving.is_over_full(rung) for rung in range(3)] == [False, False, False]
    scored(halving, 1, 5)
    assert halving.is_over_full(1)


def test_once_closed_the_rungs_are_those_of_the_configs_that_started() -> None:
    halving = Halving(NINE, 3)  # planned [3, 1, 1]; nine replaced and extended: [9, 3, 1]
    scored(halving, 0, *range(9))
    scored(halving, 1, 8)
    assert halving.promotion(closed=True) == ("c7", 1)
    few = Halving(NINE, 27)  # planned [27, 9, 3]; four started: [4, 1, 1]
    scored(few, 0, *range(4))
    scored(few, 1, 3)
    assert few.promotion(closed=True) == ("c3", 2)
    scored(few, 2, 3)
    assert few.promotion(closed=True) is None


def test_the_top_waits_while_a_place_below_is_to_be_filled() -> None:
    halving = Halving(NINE, 9)
    scored(halving, 0, *range(9))
    scored(halving, 1, 8, 7)
    assert halving.promotion(closed=True) == ("c6", 1)
    halving.start("c6", 1)
    assert halving.promotion(closed=True) is None  # c6 may still become the best
    halving.end("c6", 1, 9.0)
    assert halving.promotion(closed=True) == ("c6", 2)


def test_a_full_rung_fills_the_places_that_are_kept_above_it() -> None:
    halving = Halving(Ladder(horizons=NINE.horizons, eta=3, keep=2), 9)  # [9, 3, 2]
    scored(halving, 0, *range(9))
    scored(halving, 1, 8, 7, 6)
    scored(halving, 2, 8)
    assert halving.promotion(closed=True) == ("c7", 2)


def test_a_rung_is_not_full_while_one_below_it_is_open() -> None:
    halving = Halving(Ladder(horizons=NINE.horizons, eta=3, keep=2), 10)  # [10, 3, 2]
    scored(halving, 0, *range(9))
    halving.start("c9")
    scored(halving, 1, 8, 7, 6)
    scored(halving, 2, 8)
    assert halving.promotion(closed=True) is None
    halving.end("c9", 0, 0.0)
    assert halving.promotion(closed=True) == ("c7", 2)


def test_a_rung_that_too_few_can_reach_is_full_with_those() -> None:
    halving = Halving(Ladder(horizons=NINE.horizons, eta=3, keep=2), 9)  # [9, 3, 2]
    for number in range(9):
        halving.start(f"c{number}")
        halving.end(f"c{number}", 0, float(number), stuck=number < 7)
    scored(halving, 1, 8, 7)
    assert halving.promotion(closed=True) == ("c8", 2)
    scored(halving, 2, 8)
    assert halving.promotion(closed=True) == ("c7", 2)


def test_whoever_replaces_a_diverged_config_rises_before_the_rung_above_fills() -> None:
    halving = Halving(Ladder(horizons=NINE.horizons, eta=3, keep=2), 9)  # [9, 3, 2]
    for number in range(9):
        halving.start(f"c{number}")
        halving.end(f"c{number}", 0, float(number), stuck=number == 6)
    scored(halving, 1, 8, 7)
    assert halving.promotion(closed=True) == ("c5", 1)


def test_four_rungs_fill_from_the_lowest_to_the_top() -> None:
    halving = Halving(Ladder(horizons=(1 / 8, 1 / 4, 1 / 2, 1.0), eta=2, keep=1), 8)
    scored(halving, 0, *range(8))
    risen = []
    while (task := halving.promotion(closed=True)) is not None:
        config, rung = task
        risen.append(task)
        scored(halving, rung, int(config[1:]))
    # 8, 4, 2, 1: whoever is among the best half so far need not wait for the rest.
    assert risen[0] == ("c7", 1)
    assert {rung: {c for c, r in risen if r == rung} for rung in (1, 2, 3)} == {
        1: {"c7", "c6", "c5", "c4"},
        2: {"c7", "c6"},
        3: {"c7"},
    }


def test_of_equal_scores_the_config_asked_first_rises() -> None:
    halving = Halving(NINE, 3)
    for config in ("b", "a", "c"):
        halving.start(config)
    for config in ("c", "a", "b"):
        halving.end(config, 0, 0.5)
    assert halving.promotion(closed=True) == ("b", 1)


def test_whoever_rose_too_early_takes_no_place_from_the_best_third_so_far() -> None:
    halving = Halving(NINE, 27)
    scored(halving, 0, 1, 2, 3)
    scored(halving, 1, 3)
    scored(halving, 0, 4, 5, 6)
    assert halving.promotion(closed=False) == ("c6", 1)
    halving.start("c6", 1)
    assert halving.promotion(closed=False) == ("c5", 1)
    halving.start("c5", 1)
    assert halving.promotion(closed=False) is None
