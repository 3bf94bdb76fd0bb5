"""Arms that cannot differ, and configs that are one."""

from __future__ import annotations

import pytest

from tests.tuner.campaign.test_campaign import plan, roles, run_all
from tuner.campaign.campaign import Campaign
from tuner.config.schema import ConfigError

ONE_STAGE = ("epochs=1", "spaces.poly.interval.value=1", "spaces.cosine.interval.value=1")
# One stage of 15 epochs: the power shapes nothing.
STAGE = ("space=poly", "confirm.seeds=1", "baseline=false", "spaces.poly.interval.value=15")
GRID = (
    *(*STAGE, "search.sampler=grid"),
    *("spaces.poly.p.choices=[0.5,1,2]", "spaces.poly.delta0.choices=[0.01,0.02]"),
)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("space=[poly,cosine]", *ONE_STAGE),
            r"poly and cosine cannot differ: .*one stage: nothing decays with interval=1 of 1 ep.*"
            r"spaces\.poly\.interval\.value=step",
        ),
        (
            ("space=[linear,poly]", "spaces.poly.p.value=1"),
            "linear and poly cannot differ.*; name one of them",
        ),
        (
            ("space=[cosine,poly,wsd]", "spaces.wsd.f.value=1"),
            "poly and wsd cannot differ",
        ),
        (
            (
                *("space=linear", "recipe.family=poly", "lr=0.1"),
                *("spaces.linear.interval.value=1", "spaces.linear.lr0.value=0.1"),
            ),
            "linear and baseline cannot differ.*baseline=false",
        ),
    ],
)
def test_arms_with_one_schedule_everywhere_are_refused(
    words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(*words)


@pytest.mark.parametrize(
    "words",
    [
        ("space=[poly,cosine]", "epochs=1"),  # every step
        ("space=[lr,batch,hybrid,step]", "epochs=1"),  # fractions of the epoch
        ("space=[poly,cosine,linear,constant]",),
        ("space=[linear,poly]", "spaces.poly.p.value=1", "spaces.poly.delta0.high=1"),
    ],
)
def test_arms_that_differ_somewhere_are_not(words: tuple[str, ...]) -> None:
    assert plan(*words)


def test_configs_with_one_table_are_trained_once_and_told() -> None:
    campaign = Campaign(plan(*GRID))
    rows = run_all(campaign)
    assert roles(rows)["poly", "search"] == 2
    assert campaign.num_repeated == 4


def test_configs_with_one_table_and_other_numbers_of_the_training_are_all_trained() -> None:
    campaign = Campaign(plan(*GRID, "spaces.poly.weight_decay.choices=[0,0.1]"))
    assert roles(run_all(campaign))["poly", "search"] == 4
    assert campaign.num_repeated == 8


def test_a_resumed_grid_knows_the_tables_too() -> None:
    made = plan(*GRID)
    rows = run_all(Campaign(made), limit=1)
    again = Campaign(made)
    again.replay(rows)
    assert roles(run_all(again))["poly", "search"] == 1


def test_suggestions_with_one_table_are_drawn_again() -> None:
    choices = "spaces.poly.delta0.choices=[0.01,0.02,0.03,0.04,0.05,0.06]"
    campaign = Campaign(plan(*STAGE, choices, "trials=4"))
    assert roles(run_all(campaign))["poly", "search"] == 4
    tables = {trial.table_key for trial in campaign.arms["poly"].configs.values()}
    assert len(tables) == 4
