"""What became of a training, and what the campaign makes of it: told, or read from the records."""

from __future__ import annotations

import pytest

from search_spaces.records import Status
from search_spaces.trial import TrialConfig
from tests.fakes.trials import small_plan
from tests.tuner.campaign.test_campaign import Row, plan, row
from tuner.campaign.arm import Arm
from tuner.campaign.campaign import Campaign

RANDOM = ("search.sampler=random", "baseline=false", "confirm.seeds=1")
FIXED = ("spaces.lr.delta0.value=0.1", "spaces.batch.delta0.value=0.1", "baseline=false")
PREFIX = ("search.fidelity=prefix", "search.sampler=random", "epochs=18", "trials=9")
SAMPLES = 30 * 1150  # of a full training on digits


def full(*words: str) -> Campaign:
    return Campaign(plan("epochs=30", *RANDOM, *words))


def following(campaign: Campaign) -> TrialConfig:
    trial = campaign.next()
    assert trial is not None
    return trial


def known(arm: Arm, trial: TrialConfig) -> tuple[str, dict[int, float]]:
    """What the sampler knows of this config."""
    assert arm.suggester is not None
    tried = arm.suggester.tried[trial.config_key]
    return tried.kind, tried.scores


@pytest.mark.parametrize(
    ("status", "kind", "value", "is_stuck"),
    [("completed", "complete", 0.7, False), ("diverged", "complete", 0.7, True)],
)
def test_a_training_that_ended_well_has_its_score(
    status: Status, kind: str, value: float, is_stuck: bool
) -> None:
    campaign = full("trials=2")
    trial = following(campaign)
    arm = campaign.arms["poly"]
    assert known(arm, trial) == ("running", {})
    campaign.tell(trial, status, value)
    assert known(arm, trial) == (kind, {SAMPLES: value})
    assert arm.halving.rungs[0].scores == {trial.config_key: value}
    assert arm.halving.rungs[0].stuck == ({trial.config_key} if is_stuck else set())
    assert (arm.samples, arm.num_replaced, campaign.num_live) == (SAMPLES, 0, 0)
    assert campaign.num_ended == {status: 1}


@pytest.mark.parametrize("status", ["failed", "oom"])
def test_a_lost_training_has_no_score_and_gives_back_its_samples(status: Status) -> None:
    campaign = full("trials=2")
    kept, lost = following(campaign), following(campaign)
    arm = campaign.arms["poly"]
    assert arm.samples == 2 * SAMPLES
    campaign.tell(lost, status, 0.9)  # whatever it scored
    assert known(arm, lost) == ("fail", {})
    assert (arm.samples, arm.num_replaced) == (SAMPLES, 1)
    campaign.tell(kept, "completed", 0.5)
    assert arm.halving.rungs[0].scores == {kept.config_key: 0.5}
    assert arm.samples == SAMPLES


def test_an_interrupted_training_stays_open() -> None:
    campaign = full("trials=2")
    trial = following(campaign)
    campaign.tell(trial, "interrupted", None)
    arm = campaign.arms["poly"]
    assert known(arm, trial) == ("running", {})
    assert (arm.halving.num_open, campaign.num_live, arm.samples) == (1, 0, SAMPLES)
    assert not campaign.num_ended


def test_as_many_trainings_are_replaced_as_were_planned() -> None:
    campaign = full("trials=3", "confirm.seeds=0")
    campaign.tell(following(campaign), "completed", 0.5)
    num_lost = 0
    while not campaign.finished:
        campaign.tell(following(campaign), "failed", None)
        num_lost += 1
    assert num_lost == 2 + 3  # the rest of three, and three more


def test_a_lost_confirmation_has_no_accuracy() -> None:
    campaign = Campaign(plan("space=lr", *FIXED[:1], "baseline=false", "confirm.seeds=3"))
    for status in ("completed", "failed", "diverged"):
        campaign.tell(following(campaign), status, 0.5, 0.6)
    assert campaign.arms["lr"].scores == {0: 0.6, 1: None, 2: 0.6}


@pytest.mark.parametrize(
    ("status", "kind", "is_stuck"), [("paused", "pruned", False), ("diverged", "complete", True)]
)
def test_a_prefix_is_over_only_where_it_diverged(
    status: Status, kind: str, is_stuck: bool
) -> None:
    campaign = Campaign(plan(*PREFIX))
    trial = following(campaign)
    assert trial.until == 2
    campaign.tell(trial, status, 0.1)
    arm = campaign.arms["poly"]
    assert known(arm, trial) == (kind, {2 * 1150: 0.1})
    assert arm.halving.rungs[0].stuck == ({trial.config_key} if is_stuck else set())


def test_a_training_under_way_has_passed_its_rungs_also_after_a_resume() -> None:
    campaign = Campaign(plan(*PREFIX))
    first = following(campaign)
    promoted = campaign.ladder.place(first, 1)
    passed = {2 * 1150: 0.4}
    campaign = Campaign(plan(*PREFIX))
    campaign.replay([{**row(promoted, "running"), "prefix_scores": passed}])
    arm = campaign.arms["poly"]
    assert known(arm, first) == ("running", passed)
    assert [rung.scores for rung in arm.halving.rungs] == [{first.config_key: 0.4}, {}, {}]
    assert [rung.open for rung in arm.halving.rungs] == [set(), {first.config_key}, set()]
    assert arm.samples == 6 * 1150
    assert following(campaign) == promoted


def test_rows_of_other_spaces_are_no_end_of_the_records() -> None:
    campaign = full("trials=2")
    trial = following(campaign)
    ended = row(trial, "completed", 0.5)
    resumed = full("trials=2")
    resumed.replay([{**ended, "space": "dropped"}, ended])
    assert resumed.num_ended == {"completed": 1}


@pytest.mark.parametrize(
    ("status", "is_again"), [("oom", False), ("failed", True), ("running", True)]
)
def test_what_ran_out_of_memory_is_not_tried_again(status: Status, is_again: bool) -> None:
    trial = following(full("trials=2"))
    resumed = full("trials=2")
    resumed.replay([row(trial, status)])
    assert (following(resumed) == trial) == is_again


def shared(*words: str) -> Campaign:
    return Campaign(small_plan("epochs=6", "search.share_prefix=true", *words))


def pair(*words: str) -> Campaign:
    """lr and batch on two seeds, alike up to epoch 1 of 6."""
    return shared("space=[lr,batch]", *FIXED, "confirm.seeds=2", *words)


def begun(campaign: Campaign) -> list[tuple[TrialConfig, str | None, list[str]]]:
    """All trainings, the state that each begins from and those that it keeps."""
    orders = []
    while not campaign.finished:
        trial = following(campaign)
        order = campaign.sharing.orders(trial)
        orders.append((trial, order["begin"], [*order["keep"].values()]))
        campaign.sharing.reached(trial.trial_key, trial.num_reports, order["keep"].values())
        campaign.tell(trial, "completed", 0.5, 0.5)
    return orders


def test_each_seed_of_arms_that_begin_alike_is_shared_within_itself() -> None:
    orders = {(trial.space, trial.replicate): order for trial, *order in begun(pair())}
    for seed in range(2):
        begin, (kept,) = orders["lr", seed]
        assert begin is None
        assert orders["batch", seed] == [kept, []]
    forecast = pair().forecast
    assert forecast is not None
    saving = forecast.of_known()
    assert (saving.trainings, saving.saved, saving.samples) == (2, 2 * 240, 4 * 6 * 240)


def test_the_points_of_a_grid_share_what_they_begin_with() -> None:
    campaign = shared(
        "space=poly", "search.sampler=grid", "spaces.poly.p.choices=[1,2,3]", "baseline=true",
        "spaces.poly.interval.value=2", "spaces.poly.delta0.value=0.1", "confirm.seeds=1",
    )  # fmt: skip
    # Three points and the baseline's confirmation; two epochs until p makes a difference.
    assert campaign.forecast is not None
    saving = campaign.forecast.of_known()
    assert (saving.trainings, saving.saved, saving.samples) == (2, 2 * 2 * 240, 4 * 6 * 240)
    orders = [(begin, kept) for trial, begin, kept in begun(campaign) if trial.role == "search"]
    (kept,) = orders[0][1]
    assert orders == [(None, [kept]), (kept, []), (kept, [])]


@pytest.mark.parametrize("status", ["failed", "completed", "interrupted"])
def test_nobody_waits_for_a_training_that_is_over(status: Status) -> None:
    campaign = pair()
    lr = [following(campaign), following(campaign)]
    assert [t.space for t in lr] == ["lr", "lr"]
    assert campaign.next() is None
    campaign.tell(lr[0], status, 0.5)
    assert (following(campaign).space, campaign.next()) == ("batch", None)


def test_a_resume_waits_only_for_what_it_trains_itself() -> None:
    campaign = pair()
    ended: Row = {**row(following(campaign), "completed", 0.5), "test_accuracy": 0.6}
    resumed = pair()
    resumed.replay([ended])
    assert resumed.arms["lr"].scores == {0: 0.6}
    assert [following(resumed).space, following(resumed).space] == ["lr", "batch"]
    assert resumed.next() is None


def test_nothing_waits_while_nothing_runs() -> None:
    campaign = pair()
    campaign.pending.reverse()
    assert following(campaign).space == "batch"
