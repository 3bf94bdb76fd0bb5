"""An arm on its way: how many it may ask, who is best, and what has been confirmed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.statistics.worth import worths
from search_spaces.space import Range, SearchSpace
from search_spaces.trial import TrialConfig
from tests.fakes.trials import small_trial
from tuner.campaign.arm import Arm
from tuner.campaign.halving import Halving
from tuner.plan.ladder import Ladder

SPACE = SearchSpace(name="poly", family="poly", ranges={"p": Range(low=1.0, high=2.0)})
TWO = Ladder(horizons=(1 / 3, 1.0), eta=3, fidelity="squeezed", epochs=3)


@pytest.fixture(scope="module")
def configs() -> list[TrialConfig]:
    trial = small_trial(space="poly")
    return [replace(trial, lr0=0.1 + 0.01 * number) for number in range(4)]


def make_arm(configs: list[TrialConfig], ladder: Ladder = TWO, num_configs: int = 4) -> Arm:
    arm = Arm(space=SPACE, suggester=None, halving=Halving(ladder, num_configs))
    arm.configs = {trial.config_key: trial for trial in configs}
    return arm


def score(arm: Arm, rung: int, *scores: tuple[TrialConfig, float]) -> None:
    for trial, value in scores:
        arm.halving.start(trial.config_key, rung)
        arm.halving.end(trial.config_key, rung, value)


def test_an_arm_asks_as_many_as_planned_and_one_more_for_each_lost(
    configs: list[TrialConfig],
) -> None:
    arm = make_arm(configs[:3])
    assert (arm.num_asked, arm.can_ask) == (3, True)
    arm.configs[configs[3].config_key] = configs[3]
    assert not arm.can_ask
    arm.num_replaced = 1
    assert arm.can_ask
    arm.exhausted = True
    assert not arm.can_ask


def test_an_arm_searches_while_it_asks_waits_or_promotes(configs: list[TrialConfig]) -> None:
    arm = make_arm(configs[:3], num_configs=3)
    a, b, c = configs[:3]
    for trial in (a, b, c):
        arm.halving.start(trial.config_key)
    assert (arm.promotion, arm.searching) == (None, True)  # waits
    for number, trial in enumerate((a, b, c)):
        arm.halving.end(trial.config_key, 0, float(number))
    assert (arm.promotion, arm.searching) == ((c.config_key, 1), True)
    score(arm, 1, (c, 1.0))
    assert (arm.promotion, arm.searching) == (None, False)
    arm.halving.num_configs = 4
    assert arm.searching  # asks


def test_configs_rank_by_their_full_trainings_and_ties_by_age(configs: list[TrialConfig]) -> None:
    a, b, c, d = configs
    arm = make_arm(configs)
    assert arm.ranked("prefix") == []
    score(arm, 0, (a, 0.9), (b, 0.5), (c, 0.6), (d, 0.5))
    assert arm.ranked("prefix") == [a, c, b, d]
    score(arm, 1, (c, 0.7), (b, 0.7))
    assert arm.ranked("prefix") == [b, c]


def test_squeezed_trainings_of_all_rungs_count_together(configs: list[TrialConfig]) -> None:
    a, b, c, _ = configs
    arm = make_arm(configs)
    score(arm, 0, (a, 0.9), (b, 0.5), (c, 0.6))
    score(arm, 1, (c, 0.7))
    rungs = [{a.config_key: 0.9, b.config_key: 0.5, c.config_key: 0.6}, {c.config_key: 0.7}]
    worth = worths(rungs)
    ranked = [trial.config_key for trial in arm.ranked("squeezed")]
    assert ranked == sorted(worth, key=lambda key: -worth[key])
    assert len(ranked) == 3


def test_the_selected_config_has_the_highest_mean(configs: list[TrialConfig]) -> None:
    a, b, c, _ = configs
    arm = make_arm(configs)
    assert arm.best_selected([a, b]) is a
    arm.select_scores = {a.config_key: [0.9, 0.1], b.config_key: [0.6]}
    assert arm.best_selected([c, a, b]) is b
    assert arm.best_selected([c, a]) is a


def test_scores_are_those_of_the_chosen_config(configs: list[TrialConfig]) -> None:
    a, b, *_ = configs
    arm = make_arm(configs)
    arm.confirmed = {a.config_key: {0: 0.5, 1: None}, b.config_key: {0: 0.7}}
    assert arm.scores == {}
    arm.chosen = a
    assert arm.scores == {0: 0.5, 1: None}
    arm.chosen = configs[3]
    assert arm.scores == {}
