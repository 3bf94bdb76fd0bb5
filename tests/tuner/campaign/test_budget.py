"""search.hours and confirm.hours: rounds that fit, equal arms, and what a resume counts."""

from __future__ import annotations

from collections import Counter

import pytest

from search_spaces.records import Status
from search_spaces.trial import TrialConfig
from tests.tuner.campaign.test_campaign import Row, plan, row, score
from tuner.campaign.campaign import Campaign

ARMS = ("space=[poly,cosine]", "baseline=false", "trials=20", "resources.cpus_per_trial=2")
SECONDS = 90.0  # of a training in full: 0.05 CPU hours on two CPUs


def campaign(*words: str) -> Campaign:
    return Campaign(plan(*ARMS, *words))


def run(campaign: Campaign, *, at_once: int = 1, seconds: float = SECONDS) -> list[Row]:
    """Train to the end; every training takes as long as its samples say. The ledger's rows."""
    live: list[TrialConfig] = []
    rows: list[Row] = []
    while not campaign.finished:
        while len(live) < at_once and (trial := campaign.next()) is not None:
            live.append(trial)
        if not live:
            assert campaign.finished, "nothing runs that could be waited for"
            break
        trial = live.pop(0)
        wall = seconds * trial.horizon
        status: Status = "completed"
        campaign.tell(trial, status, score(trial), score(trial), wall)
        told = {"wall_seconds": wall, "test_accuracy": score(trial)}
        rows.append(row(trial, status, score(trial)) | told)
    return rows


def counts(rows: list[Row], role: str) -> Counter[object]:
    return Counter(r["space"] for r in rows if r["role"] == role)


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 3, 16])
@pytest.mark.parametrize(
    ("hours", "num"),
    [
        (0.301, 3),  # a round of both arms costs 0.1
        (0.39, 3),
        (0.401, 4),
        (0.01, 1),  # one config each, whatever it costs
        (100.0, 20),  # trials= stays the upper bound
    ],
)
def test_a_search_ends_where_no_round_of_all_arms_fits(
    hours: float, num: int, at_once: int
) -> None:
    bounded = campaign(f"search.hours={hours}", "confirm.seeds=0")
    rows = run(bounded, at_once=at_once)
    assert counts(rows, "search") == {"poly": num, "cosine": num}
    assert bounded.spent == (["search"] if num < 20 else [])


def test_the_configs_of_a_bounded_search_are_those_of_an_unbounded_one() -> None:
    bounded = run(campaign("search.hours=0.5", "confirm.seeds=0"))
    free = run(campaign("confirm.seeds=0"))
    assert [r["trial_key"] for r in bounded] == [r["trial_key"] for r in free][: len(bounded)]


@pytest.mark.parametrize("hours", [0.31, 0.62, 1.13])
def test_the_promotions_that_follow_belong_to_a_round(hours: float) -> None:
    words = ("search.fidelity=squeezed", "epochs=27", "trials=99")
    bounded = campaign(f"search.hours={hours}", "confirm.seeds=0", *words)
    rows = run(bounded, at_once=2)
    spent = sum(2 * float(str(r["wall_seconds"])) / 3600 for r in rows)
    ladder, configs = bounded.ladder, bounded.arms["poly"].num_asked
    assert {arm.samples for arm in bounded.arms.values()} == {ladder.samples(configs)}
    share = 2 * 0.05 / ladder.full_samples
    assert spent == pytest.approx(share * ladder.samples(configs), rel=1e-3)
    assert spent <= hours < share * ladder.samples(configs + 1)


@pytest.mark.parametrize("at_once", [1, 5])
@pytest.mark.parametrize(("hours", "num"), [(0.01, 2), (0.3, 3), (0.49, 4), (9.0, 6)])
def test_confirm_seeds_come_in_rounds_that_fit(hours: float, num: int, at_once: int) -> None:
    words = ("trials=1", f"confirm.hours={hours}", "confirm.seeds=6")
    bounded = campaign(*words)
    rows = run(bounded, at_once=at_once)
    assert counts(rows, "confirm") == {"poly": num, "cosine": num}
    assert bounded.spent == (["confirm"] if num < 6 else [])


def test_both_bounds_hold_where_seeds_are_added_until_decided() -> None:
    words = ("trials=1", "confirm.until=decided", "confirm.seeds=3", "confirm.max_seeds=9")
    assert set(counts(run(campaign(*words, "confirm.hours=0.55")), "confirm").values()) == {5}
    assert set(counts(run(campaign(*words, "confirm.hours=50")), "confirm").values()) == {9}


@pytest.mark.parametrize("words", [("search.hours=0.35",), ("confirm.hours=0.35",)])
def test_a_resume_goes_on_counting_and_more_hours_go_on(words: tuple[str, ...]) -> None:
    first = campaign(*words, "confirm.seeds=6")
    rows = run(first)
    same = campaign(*words, "confirm.seeds=6")
    same.replay(rows)
    assert same.finished
    assert same.spent == first.spent != []
    more = campaign(words[0].replace("0.35", "0.55"), "confirm.seeds=6")
    more.replay(rows)
    added = [r for r in run(more) if r["role"] == first.spent[0]]
    assert counts(added, str(first.spent[0])) == {"poly": 2, "cosine": 2}


def test_one_round_is_begun_before_anything_has_told_its_pace() -> None:
    bounded = campaign("search.hours=1", "confirm.seeds=0")
    trials = [bounded.next(), bounded.next()]
    assert {t.space for t in trials if t} == {"poly", "cosine"}
    assert bounded.next() is None
    assert not bounded.finished
    first = trials[0]
    assert first is not None
    full = bounded.plan.samples_per_trial
    bounded.hear(first, full // 10, SECONDS)  # a training costs 0.5: the two under way are all
    assert bounded.next() is None
    bounded.hear(first, full // 2, SECONDS)  # it costs 0.1: room for many more
    assert bounded.next() is not None


def test_a_lost_training_costs_hours_and_another_takes_its_place() -> None:
    bounded = campaign("search.hours=0.35", "confirm.seeds=0")
    lost = bounded.next()
    assert lost is not None
    bounded.tell(lost, "failed", None, None, SECONDS)
    rows = run(bounded)
    # 0.05 for the lost one, 0.1 for each of two rounds; a third would end at 0.35.
    assert counts(rows, "search") == {"poly": 3, "cosine": 3}
    bounded = campaign("search.hours=0.34", "confirm.seeds=0")
    lost = bounded.next()
    assert lost is not None
    bounded.tell(lost, "failed", None, None, SECONDS)
    assert counts(run(bounded), "search") == {"poly": 2, "cosine": 2}


def test_what_waits_for_a_state_is_paid_before_another_round() -> None:
    for hours, num_left in ((0.24, 0), (0.26, 1)):  # 0.1 spent, 0.05 waits, a round costs 0.1
        bounded = campaign(f"search.hours={hours}", "confirm.seeds=0")
        first = [trial for trial in (bounded.next(), bounded.next()) if trial is not None]
        for trial in first:
            bounded.tell(trial, "completed", score(trial), None, SECONDS)
        bounded.pending.append(bounded.plan.trial(bounded.plan.spaces[0], first[0].params))
        arms = bounded.arms.values()
        assert [bounded._may_ask(arm) for arm in arms] == [bool(num_left)] * 2
