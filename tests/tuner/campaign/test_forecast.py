"""Searches whose configs have a trunk in common: what is foreseen, handed out and kept."""

from __future__ import annotations

import math

import pytest

from search_spaces.trial import TrialConfig
from tests.fakes.trials import small_plan
from tests.tuner.campaign.test_campaign import Row, row, score
from tuner.campaign.campaign import Campaign
from tuner.campaign.forecast import NUM_TRIED, Forecast
from tuner.campaign.sharing import prefix_keys, trunk_end

N, EPOCHS = 240, 10
# A linear cooldown whose share is searched.
WSD = (
    *("space=wsd", f"epochs={EPOCHS}", "spaces.wsd.p.value=1", "spaces.wsd.interval.value=1"),
    *("confirm.seeds=1", "baseline=false", "search.share_prefix=true"),
)
ONE_PEAK = "spaces.wsd.delta0.value=0.1"


def campaign(*words: str) -> Campaign:
    return Campaign(small_plan(*WSD, *words))


def forecast(*words: str) -> Forecast:
    planned = campaign(*words).forecast
    assert planned is not None
    return planned


def report(campaign: Campaign, trial: TrialConfig, number: int) -> None:
    """It has made this report, and kept what it was told to."""
    keep = campaign.sharing.orders(trial)["keep"]
    kept = [key for point, key in keep.items() if point <= number]
    campaign.sharing.reached(trial.trial_key, number, kept)


def end(campaign: Campaign, trial: TrialConfig) -> Row:
    report(campaign, trial, trial.num_reports)
    campaign.tell(trial, "completed", score(trial), score(trial))
    return row(trial, "completed", score(trial))


def train(campaign: Campaign) -> tuple[list[TrialConfig], int]:
    """One training after the other to the end; they, and the samples of the search trained."""
    trials, trained = [], 0
    while not campaign.finished:
        trial = campaign.next()
        assert trial is not None
        begin = campaign.sharing.orders(trial)["begin"]
        first = 1 + prefix_keys(trial).index(begin) if begin else 0
        if trial.role == "search":
            trained += trial.schedule.total_samples - trial.schedule.report_end(first)
        trials.append(trial)
        end(campaign, trial)
    return trials, trained


def test_a_search_trains_one_trunk_and_the_tails() -> None:
    trials, trained = train(campaign(ONE_PEAK, "trials=10"))
    searched = [trial for trial in trials if trial.role == "search"]
    # The first of ten stages that decays begins at epoch floor(10(1-f)) + 1.
    trunks = [math.floor(EPOCHS * (1 - trial.params["f"])) + 1 for trial in searched]
    assert len(searched) == 10
    assert trained == N * (max(trunks) + sum(EPOCHS - trunk for trunk in trunks))


def test_the_configs_and_their_order_are_those_of_a_search_without() -> None:
    alone, shared = (
        train(campaign(ONE_PEAK, "trials=12", f"search.share_prefix={on}"))[0]
        for on in ("false", "true")
    )
    assert [t.trial_key for t in alone] == [t.trial_key for t in shared]


def test_each_of_several_peaks_has_its_trunk() -> None:
    trials, trained = train(
        campaign("spaces.wsd.delta0.choices=[0.1,0.2]", "trials=10", "search.sampler=random")
    )
    trunks: dict[float, list[int]] = {0.1: [], 0.2: []}
    for trial in trials:
        if trial.role == "search":
            trunks[trial.params["delta0"]].append(trunk_end(trial))
    tails = sum(EPOCHS - end for ends in trunks.values() for end in ends)
    assert trained == N * (sum(map(max, trunks.values())) + tails)


def test_two_arms_of_one_peak_share_their_trunk_also_to_confirm() -> None:
    both = campaign(
        "space=[wsd,wsd_sqrt]", ONE_PEAK, "spaces.wsd_sqrt.delta0.value=0.1", "trials=4",
        "spaces.wsd_sqrt.interval.value=1", "confirm.seeds=2",
    )  # fmt: skip
    trials, trained = train(both)
    ends = [trunk_end(trial) for trial in trials if trial.role == "search"]
    assert trained == N * (max(ends) + sum(EPOCHS - end for end in ends))
    chosen = {t.trial_key: t for t in trials if t.role == "confirm"}
    orders = both.sharing.orders
    assert len(chosen) == 4
    assert all(orders(t) == {"keep": {}, "begin": None} for t in chosen.values())  # all ended


def test_squeezed_rungs_have_trunks_of_their_own() -> None:
    squeezed = ("search.fidelity=squeezed", "search.rungs=2", "epochs=9", "trials=9")
    trials, trained = train(campaign(ONE_PEAK, *squeezed))
    searched = [trial for trial in trials if trial.role == "search"]
    assert sorted(trial.horizon for trial in searched) == pytest.approx([1 / 3] * 9 + [1] * 3)
    whole = sum(trial.schedule.total_samples for trial in searched)
    # All stand still in one and the same state: a full trunk begins with the squeezed ones.
    trunk = max(trial.schedule.report_end(trunk_end(trial)) for trial in searched)
    ends = sum(trial.schedule.report_end(trunk_end(trial)) for trial in searched)
    assert trained == whole - (ends - trunk)


def test_a_search_by_prefixes_begins_no_further_than_it_goes() -> None:
    prefixes = ("search.fidelity=prefix", "search.rungs=2", "epochs=9", "trials=9")
    searching = campaign(ONE_PEAK, *prefixes)
    while not searching.finished:
        trial = searching.next()
        assert trial is not None
        begin = searching.sharing.orders(trial)["begin"]
        assert begin is None or int(begin.rpartition("-")[2]) <= trial.num_reports
        report(searching, trial, trial.num_reports)
        status = "completed" if trial.is_full else "paused"
        searching.tell(trial, status, score(trial), score(trial))


def test_a_peak_from_a_range_shares_nothing_keeps_nothing_and_is_told() -> None:
    searching = campaign("trials=6")
    assert searching.forecast is not None
    assert searching.forecast.lines() == [
        "shared: nothing of wsd, whose configs begin with a delta0 each of their own "
        "(spaces.wsd.delta0.value or choices)"
    ]
    trial = searching.next()
    assert trial is not None
    assert searching.sharing.orders(trial) == {"keep": {}, "begin": None}


def test_a_curve_that_falls_at_every_step_shares_nothing_and_is_told() -> None:
    falling = ("space=poly", "spaces.poly.interval.value=step", "spaces.poly.delta0.value=0.1")
    plan = small_plan("epochs=6", *falling, "search.share_prefix=true", "trials=5")
    planned = Campaign(plan).forecast
    assert planned is not None
    assert planned.lines() == [
        "shared: nothing of poly, whose noise level falls before the first report"
    ]


def test_the_estimate_is_what_a_search_by_such_points_spares() -> None:
    # From 0.15 on each decays: none is drawn again.
    words = (ONE_PEAK, "trials=10", "search.sampler=qmc", "spaces.wsd.f.low=0.15")
    saving = forecast(*words).of_searches()
    _, trained = train(campaign(*words))
    assert saving.samples == 10 * EPOCHS * N
    assert saving.samples - saving.saved == trained
    assert saving.share == pytest.approx(1 - trained / (10 * EPOCHS * N))


def test_one_config_has_nobody_to_share_with() -> None:
    alone = forecast(ONE_PEAK, "trials=1")
    assert (alone.searched, alone.obstacles, alone.known) == ({}, {}, [])
    assert NUM_TRIED > 1


def test_an_arm_waits_for_its_trunk_and_others_are_handed_out() -> None:
    both = campaign(
        "space=[wsd,poly]", ONE_PEAK, "spaces.poly.delta0.value=0.2", "trials=4",
        "spaces.wsd.f.low=0.3", "search.sampler=random", "spaces.poly.interval.value=step",
    )  # fmt: skip
    first, other = both.next(), both.next()
    assert first is not None
    assert other is not None
    assert (first.space, other.space) == ("wsd", "poly")
    third = both.next()
    assert third is not None
    assert third.space == "poly"  # the next of wsd waits
    assert both.arms["wsd"].num_asked == 2  # and is the only one asked
    report(both, first, trunk_end(first))
    following = both.next()
    assert following is not None
    assert following.space == "wsd"
    assert both.sharing.orders(following)["begin"] in prefix_keys(first)


@pytest.mark.parametrize("status", ["failed", "diverged", "interrupted", "completed"])
def test_who_waits_goes_on_when_the_owner_is_gone(status) -> None:
    searching = campaign(ONE_PEAK, "trials=4", "search.sampler=random")
    first = searching.next()
    assert first is not None
    assert searching.next() is None
    searching.tell(first, status, 0.1 if status in ("diverged", "completed") else None)
    second = searching.next()
    assert second is not None
    orders = searching.sharing.orders(second)
    assert orders["begin"] is None
    assert [*orders["keep"]] == [*range(1, trunk_end(second) + 1)]  # it makes the trunk now


def test_a_resume_knows_the_states_it_finds_and_no_others() -> None:
    words = (ONE_PEAK, "trials=6", "search.sampler=random")
    before = campaign(*words)
    rows = []
    for _ in range(2):
        trial = before.next()
        assert trial is not None
        rows.append(end(before, trial))
    going_on, lost, uncut = campaign(*words), campaign(*words), before.next()
    going_on.replay(rows)
    going_on.sharing.states |= before.sharing.states
    lost.replay(rows)
    assert uncut is not None
    for resumed, begin in ((going_on, before.sharing.orders(uncut)["begin"]), (lost, None)):
        trial = resumed.next()
        assert trial == uncut
        assert resumed.sharing.orders(trial)["begin"] == begin


def test_states_go_when_the_search_is_over() -> None:
    searching = campaign(ONE_PEAK, "trials=3")
    for _ in range(3):
        trial = searching.next()
        assert trial is not None
        assert searching.unneeded_states() == set()
        end(searching, trial)
    assert searching.sharing.states
    kept = {*searching.sharing.states}
    assert searching.unneeded_states() == kept
    assert searching.sharing.states == set()
