"""The campaign: budgets, phases, reproducible suggestions, and taking up an earlier run."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime

import pytest

from results.records.schema import trial_row
from search_spaces.records import Outcome, Status
from search_spaces.trial import TrialConfig
from tuner.campaign.campaign import Campaign
from tuner.config.compose import compose
from tuner.config.schema import SAMPLERS
from tuner.plan.plan import Plan, make_plan

Row = dict[str, object]


def plan(*words: str) -> Plan:
    return make_plan(compose(["workload=digits", *words]))


def score(trial: TrialConfig) -> float:
    """A made-up objective that depends on the config alone."""
    return random.Random(trial.trial_key).random()


def row(trial: TrialConfig, status: Status, objective: float | None = None) -> Row:
    outcome = None
    if objective is not None:
        outcome = Outcome(
            status=status,
            objective=objective,
            best_val_accuracy=objective,
            val_loss=1.0,
            final_train_loss=1.0,
            final_train_accuracy=objective,
            test_loss=None,
            test_accuracy=None,
            test_correct=None,
            samples_seen=1,
            optimizer_steps=1,
            train_seconds=1.0,
            num_params=1,
            peak_memory_bytes=1,
            device="cpu",
        )
    return trial_row(
        "run",
        trial,
        status=status,
        attempt=1,
        outcome=outcome,
        epochs_done=1,
        host="h",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        ended_at=None,
        error=None,
    )


def run_all(campaign: Campaign, *, at_once: int = 1, limit: int | None = None) -> list[Row]:
    """Train (by made-up scores) until finished or `limit` trials ended; the ledger's rows."""
    live: list[TrialConfig] = []
    ended: list[Row] = []
    while not campaign.finished and (limit is None or len(ended) < limit):
        while len(live) < at_once and (trial := campaign.next()) is not None:
            live.append(trial)
        trial = live.pop(0)
        campaign.tell(trial, "completed", score(trial))
        ended.append(row(trial, "completed", score(trial)))
    return ended + [row(trial, "running") for trial in live]


def keys(rows: list[Row]) -> list[object]:
    return [r["trial_key"] for r in rows]


def roles(rows: list[Row]) -> Counter[tuple[object, object]]:
    return Counter((r["space"], r["role"]) for r in rows)


def test_every_arm_and_the_baseline_get_their_trials() -> None:
    rows = run_all(Campaign(plan("space=[poly,cosine]", "trials=5", "confirm.seeds=3")))
    assert roles(rows) == {
        ("poly", "search"): 5,
        ("cosine", "search"): 5,
        ("poly", "confirm"): 3,
        ("cosine", "confirm"): 3,
        ("baseline", "confirm"): 3,
    }


def test_arms_take_turns_so_that_budgets_stay_equal() -> None:
    campaign = Campaign(plan("space=[poly,cosine,exp]", "trials=4"))
    first = [campaign.next() for _ in range(6)]
    assert Counter(t.space for t in first if t) == {"poly": 2, "cosine": 2, "exp": 2}


def test_confirm_seeds_are_fresh_and_paired_across_arms() -> None:
    rows = run_all(Campaign(plan("space=[poly,cosine]", "trials=3", "confirm.seeds=3")))
    searched = {r["seed"] for r in rows if r["role"] == "search"}
    seeds = {
        space: [
            r["seed"]
            for r in sorted(rows, key=lambda r: r["replicate"])
            if (r["space"], r["role"]) == (space, "confirm")
        ]
        for space in ("poly", "cosine", "baseline")
    }
    assert seeds["poly"] == seeds["cosine"] == seeds["baseline"]
    assert len(set(seeds["poly"])) == 3
    assert not searched & set(seeds["poly"])


def test_the_config_with_the_best_objective_is_confirmed() -> None:
    rows = run_all(Campaign(plan("trials=8")))
    best = max((r for r in rows if r["role"] == "search"), key=lambda r: r["objective"])
    confirmed = {r["config_key"] for r in rows if r["role"] == "confirm" and r["space"] == "poly"}
    assert confirmed == {best["config_key"]}


def test_top_k_selects_on_select_seeds_before_it_confirms() -> None:
    words = ("trials=6", "confirm.top_k=3", "confirm.select_seeds=2", "confirm.seeds=2")
    rows = run_all(Campaign(plan(*words)), at_once=2)
    assert roles(rows)["poly", "select"] == 6
    assert roles(rows)["poly", "confirm"] == 2
    means: dict[object, list[float]] = {}
    for r in rows:
        if r["role"] == "select":
            means.setdefault(r["config_key"], []).append(r["objective"])
    best = max(means, key=lambda key: sum(means[key]))
    assert {r["config_key"] for r in rows if (r["space"], r["role"]) == ("poly", "confirm")} == {
        best
    }


@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if s not in ("gp", "grid")])
def test_the_same_seed_suggests_the_same_and_another_seed_does_not(sampler: str) -> None:
    words = ("trials=9", f"search.sampler={sampler}")
    first = run_all(Campaign(plan(*words)))
    again = run_all(Campaign(plan(*words)))
    other = run_all(Campaign(plan(*words, "seed=1")))
    assert keys(first) == keys(again)
    assert not set(keys(first)) & set(keys(other))


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("ended", [0, 1, 7, 11, 13])
def test_a_resumed_campaign_suggests_what_the_uninterrupted_one_does(
    ended: int, at_once: int
) -> None:
    words = ("space=[poly,exp]", "trials=6", "confirm.seeds=2", "search.startup=3")
    whole = run_all(Campaign(plan(*words)), at_once=at_once)
    before = run_all(Campaign(plan(*words)), at_once=at_once, limit=ended)
    resumed = Campaign(plan(*words))
    resumed.replay(before)
    after = run_all(resumed, at_once=at_once)
    finished_before = [r for r in before if r["status"] == "completed"]
    assert sorted(keys(finished_before + after)) == sorted(keys(whole))
    assert not set(keys(finished_before)) & set(keys(after))


def test_more_trials_extend_a_finished_campaign() -> None:
    rows = run_all(Campaign(plan("trials=4", "confirm.seeds=2")))
    extended = Campaign(plan("trials=7", "confirm.seeds=2"))
    extended.replay(rows)
    more = run_all(extended)
    assert roles(more)["poly", "search"] == 3
    assert not set(keys(rows)) & set(keys(more))


def test_an_arm_that_has_searched_selects_before_others_search_on() -> None:
    words = ("space=[poly,cosine]", "trials=2", "confirm.top_k=2", "search.sampler=random")
    campaign = Campaign(plan(*words))
    trials = [trial for trial in (campaign.next() for _ in range(3)) if trial]
    assert [trial.space for trial in trials] == ["poly", "cosine", "poly"]
    for trial in (trials[0], trials[2]):
        campaign.tell(trial, "completed", 0.5)
    following = [campaign.next(), campaign.next()]
    assert [(t.space, t.role) for t in following if t] == [("poly", "select")] * 2
    assert campaign.num_live == 3


def test_an_extension_selects_anew_before_it_confirms() -> None:
    words = ("confirm.top_k=2", "confirm.select_seeds=2", "confirm.seeds=2", "baseline=false")
    rows = run_all(Campaign(plan("trials=4", *words)))
    extended = Campaign(plan("trials=12", *words))
    extended.replay(rows)
    rows += run_all(extended)
    searched = sorted(
        (r for r in rows if r["role"] == "search"), key=lambda r: -float(str(r["objective"]))
    )
    finalists = {r["config_key"] for r in searched[:2]}
    scores: dict[object, float] = {}
    for r in rows:
        if r["role"] == "select" and r["config_key"] in finalists:
            scores[r["config_key"]] = scores.get(r["config_key"], 0.0) + r["objective"]
    assert set(scores) == finalists
    chosen = extended.arms["poly"].chosen
    assert chosen is not None
    assert chosen.config_key == max(scores, key=lambda key: scores[key])


def test_a_failed_trial_is_replaced_and_leaves_the_budget() -> None:
    campaign = Campaign(plan("trials=3", "confirm.seeds=0", "baseline=false"))
    trial = campaign.next()
    assert trial is not None
    campaign.tell(trial, "failed", None)
    rows = run_all(campaign)
    assert roles(rows)["poly", "search"] == 3


def test_a_diverged_trial_counts_against_the_budget() -> None:
    campaign = Campaign(plan("trials=3", "confirm.seeds=0", "baseline=false"))
    trial = campaign.next()
    assert trial is not None
    campaign.tell(trial, "diverged", 0.1)
    assert roles(run_all(campaign))["poly", "search"] == 2


def test_a_run_whose_first_trials_all_fail_gives_up() -> None:
    campaign = Campaign(plan("trials=20"))
    count = 0
    while not campaign.finished:
        trial = campaign.next()
        assert trial is not None
        campaign.tell(trial, "failed", None)
        count += 1
    assert count == 5
    assert campaign.given_up == "the first 5 trials all failed"


def test_a_space_with_few_points_ends_when_all_are_tried() -> None:
    words = ("spaces.poly.p.choices=[1,2]", "spaces.poly.interval.choices=[1,5]")
    rows = run_all(Campaign(plan(*words, "spaces.poly.delta0.value=0.2", "trials=30")))
    assert roles(rows)["poly", "search"] == 4


def test_stepped_ranges_can_be_searched_to_their_end() -> None:
    steps = ("spaces.poly.p.low=0.1", "spaces.poly.p.high=0.3", "spaces.poly.p.step=0.1")
    rows = run_all(Campaign(plan(*steps, "trials=20", "confirm.seeds=0", "baseline=false")))
    assert {r["p"] for r in rows} == {0.1, 0.2, 0.3}


def test_a_grid_trains_every_point_whatever_trials_says() -> None:
    words = ("spaces.poly.p.choices=[0.5,1,2]", "spaces.poly.interval.choices=[1,5]")
    grid = (*words, "spaces.poly.delta0.value=0.2", "search.sampler=grid", "trials=1")
    rows = run_all(Campaign(plan(*grid)))
    assert roles(rows)["poly", "search"] == 6


def test_a_budget_in_samples_replaces_trials() -> None:
    planned = plan("epochs=10")
    samples = planned.samples_per_trial
    assert plan("epochs=10", f"search.budget={5 * samples}").trials_per_space == 5


def test_startup_points_come_first_and_the_rest_is_model_based() -> None:
    campaign = Campaign(plan("trials=20", "confirm.seeds=0", "baseline=false"))
    run_all(campaign)
    # Three free parameters (p, interval, delta0): max(2*3+1, 20//4) = 7 start-up points.
    assert campaign.num_model_based == 20 - 7


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_a_cooldown_too_short_for_its_interval_is_never_suggested(sampler: str) -> None:
    words = ("spaces.wsd.f.low=0.01", "spaces.wsd.f.high=0.5", "spaces.wsd.p.value=1")
    asked = plan("space=wsd", f"search.sampler={sampler}", "trials=30", "confirm.seeds=0", *words)
    campaign = Campaign(asked)
    suggester = campaign.arms["wsd"].suggester
    assert suggester is not None
    blind = [suggester.ask(number, lambda _: False) for number in range(10)]
    assert not all(asked.trial(asked.spaces[0], params or {}).decays for params in blind)
    rows = run_all(campaign)
    # The last of 15 epochs' stages begins at (ceil(15/n) - 1) n / 15: f must reach before it.
    last = [(-(-15 // r["interval"]) - 1) * r["interval"] / 15 for r in rows]
    assert len(rows) == 30
    assert all(r["f"] > 1 - u for r, u in zip(rows, last, strict=True))
