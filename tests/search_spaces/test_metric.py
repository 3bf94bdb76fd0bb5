"""A metric's goal, unit and sign; and what a diverged training counts as."""

from __future__ import annotations

import math

import pytest

from search_spaces.metric import VAL_ACCURACY, Metric, goal_of, make_metric
from search_spaces.trial import LATER_FIELDS
from tests.fakes.results import make_recipe, make_trial


@pytest.mark.parametrize(
    ("name", "goal", "unit", "test_name"),
    [
        ("val_accuracy", "max", "points", "test_accuracy"),
        ("top5_accuracy", "max", "points", "test_top5_accuracy"),
        ("val_auc", "max", "", "test_auc"),
        ("macro_f1", "max", "", "test_macro_f1"),
        ("val_loss", "min", "nats", "test_loss"),
        ("nll", "min", "nats", "test_nll"),
        ("test_perplexity", "min", "", "test_perplexity"),
        ("val_rmse", "min", "", "test_rmse"),
        ("mae", "min", "", "test_mae"),
        ("word_error", "min", "", "test_word_error"),
    ],
)
def test_a_name_tells_goal_unit_and_its_twin_on_test_data(
    name: str, goal: str, unit: str, test_name: str
) -> None:
    metric = make_metric(name)
    assert (metric.goal, metric.unit, metric.test_name) == (goal, unit, test_name)
    assert metric.of_test == Metric(name=test_name, goal=metric.goal, unit=unit)
    better, worse = (2.0, 1.0) if goal == "max" else (1.0, 2.0)
    assert metric.score(better) > metric.score(worse) > metric.score(metric.worst) == -math.inf


@pytest.mark.parametrize("name", ["bleu", "val_score", "losses", "accuracy_drop", "valloss"])
def test_no_goal_is_guessed(name: str) -> None:
    assert goal_of(name) is None
    with pytest.raises(ValueError, match="min or max"):
        make_metric(name)
    assert make_metric(name, "max").goal == "max"


@pytest.mark.parametrize(
    ("name", "goal", "message"),
    [
        ("val_loss", "max", "the min is best, not the max"),
        ("val loss", "min", "no name of a metric"),
        ("", "min", "no name of a metric"),
        ("bleu", "up", "min or max"),
    ],
)
def test_what_is_no_metric_is_refused(name: str, goal: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_metric(name, goal)


def test_the_objective_is_part_of_a_trial_but_not_of_older_ones() -> None:
    old, by_loss = make_trial(), make_trial(recipe=make_recipe(objective="val_loss", goal="min"))
    assert old.recipe.metric == VAL_ACCURACY
    assert not {"objective", "goal"} & old.recipe.identity().keys()
    assert {"objective", "goal"} <= LATER_FIELDS.keys()
    assert by_loss.trial_key != old.trial_key
    assert type(old).from_dict(by_loss.to_dict()) == by_loss


def test_only_accuracies_have_a_chance_to_count_as() -> None:
    assert make_recipe().diverged_objective == pytest.approx(0.1)
    assert make_recipe(objective="val_loss", goal="min").diverged_objective is None
