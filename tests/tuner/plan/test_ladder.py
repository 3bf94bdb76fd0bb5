"""Rungs of a search in the plan, the campaign and the trainable."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from results.statistics.worth import worths
from results.study import build_study
from search_spaces.records import Status
from search_spaces.trial import TrialConfig
from tests.fakes.trials import small_plan
from tests.tuner.campaign.test_campaign import Row, plan, row, score
from trainables.trainable import ScheduledTrainable
from tuner.campaign.campaign import Campaign
from tuner.config.schema import ConfigError

SQUEEZED = ("search.fidelity=squeezed", "epochs=18", "trials=9", "confirm.seeds=1")
PREFIX = ("search.fidelity=prefix", "epochs=18", "trials=9", "confirm.seeds=1")
N = 1150  # training images of the workload digits


def run_all(
    campaign: Campaign,
    at_once: int = 1,
    limit: int | None = None,
    status_of: Callable[[TrialConfig], Status] = lambda trial: "completed",
    rows: dict[object, Row] | None = None,
) -> list[Row]:
    """Train by made-up scores; the ledger's rows, as a store would hold them.

    Args:
        limit: trainings to end; those begun by then are left as running.
        status_of: completed | diverged | failed, of a training that is not a prefix.
        rows: of an earlier part of the run.
    """
    live: list[TrialConfig] = []
    rows = {} if rows is None else rows
    ended = 0
    while not campaign.finished and (limit is None or ended < limit):
        while len(live) < at_once and (trial := campaign.next()) is not None:
            live.append(trial)
            rows[trial.trial_key] = {**rows.get(trial.trial_key, {}), **row(trial, "running")}
        trial = live.pop(0)
        ended += 1
        status = status_of(trial)
        status = "paused" if status == "completed" and trial.until else status
        value = None if status == "failed" else 0.1 if status == "diverged" else value_of(trial)
        campaign.tell(trial, status, value, value)
        before = rows[trial.trial_key].get("prefix_scores") or {}
        scores = {trial.num_reports * N: value} if trial.until and value else {}
        rows[trial.trial_key] = {
            **row(trial, status, value),
            "epochs_done": trial.num_reports,
            "test_accuracy": value,
            "prefix_scores": before | scores,
        }
    return list(rows.values())


def value_of(trial: TrialConfig) -> float:
    """A made-up accuracy of the config in steps of 0.1, so that ties are common."""
    config = replace(trial, horizon=1.0, until=None, role="search", replicate=0, seed=0)
    return 0.5 + 0.1 * int(4 * score(config))


def state(campaign: Campaign, space: str = "poly") -> dict[str, object]:
    """All that decides how the campaign goes on."""
    arm = campaign.arms[space]
    return {
        "configs": list(arm.configs),
        "scores": [dict(sorted(rung.scores.items())) for rung in arm.halving.rungs],
        "samples": arm.samples,
        "chosen": arm.chosen.config_key if arm.chosen else None,
        "tried": [(t.key, sorted(t.scores.items()), t.kind) for t in arm.suggester.tried.values()]
        if arm.suggester
        else None,
    }


def rungs(rows: list[Row], space: str) -> Counter[float]:
    searched = [r for r in rows if (r["space"], r["role"]) == (space, "search")]
    return Counter(round(float(str(r["horizon"])), 6) for r in searched)


@pytest.mark.parametrize("at_once", [1, 3])
def test_every_arm_trains_the_planned_rungs_on_equal_samples(at_once: int) -> None:
    chosen = plan("space=[poly,cosine]", *SQUEEZED)
    campaign = Campaign(chosen)
    rows = run_all(campaign, at_once)
    # 9 configs at 1/9, 3 at 1/3, 1 in full: 18 epochs (1 + 1 + 1) of N samples.
    assert rungs(rows, "poly") == rungs(rows, "cosine") == {0.111111: 9, 0.333333: 3, 1.0: 1}
    assert campaign.arms["poly"].samples == campaign.arms["cosine"].samples == 3 * 18 * N
    assert chosen.ladder.samples(9) == 3 * 18 * N


@pytest.mark.slow
def test_early_promotion_trains_in_full_before_all_have_started_and_no_more_than_planned() -> None:
    early = run_all(Campaign(plan(*SQUEEZED, "search.promote=early", "trials=27")))
    late = run_all(Campaign(plan(*SQUEEZED, "trials=27")))
    assert rungs(early, "poly") == rungs(late, "poly") == {0.111111: 27, 0.333333: 9, 1.0: 3}
    first = [next(i for i, r in enumerate(rows) if r["horizon"] == 1.0) for rows in (early, late)]
    # Late: all 27 start first.
    assert first[0] < 27
    assert first[1] >= 27


def test_the_plan_counts_trainings_and_samples_of_all_rungs() -> None:
    chosen = plan("space=[poly,cosine]", *SQUEEZED, "confirm.seeds=2")
    assert chosen.num_trials == 2 * (9 + 3 + 1) + 3 * 2
    assert chosen.num_samples == (2 * 3 + 3 * 2) * 18 * N


def test_a_budget_buys_what_fits_into_it() -> None:
    chosen = plan(*SQUEEZED, f"search.budget={3 * 18 * N}")
    assert chosen.trials_per_space == 9 + 0  # the tenth config costs two epochs more
    assert plan(*SQUEEZED, f"search.budget={3 * 18 * N + 2 * N}").trials_per_space == 10


def test_prefixes_pay_only_for_what_they_add() -> None:
    chosen = plan(*PREFIX)
    assert chosen.ladder.until_K == (2, 6, 18)
    assert [chosen.ladder.cost(rung) for rung in range(3)] == [2 * N, 4 * N, 12 * N]
    rows = run_all(Campaign(chosen))
    searched = [r for r in rows if r["role"] == "search"]
    assert Counter(r["epochs_done"] for r in searched) == {2: 6, 6: 2, 18: 1}
    assert Counter(r["status"] for r in searched) == {"paused": 8, "completed": 1}


def test_a_config_is_one_optuna_trial_with_the_scores_of_its_rungs() -> None:
    chosen = plan(*SQUEEZED)
    rows = run_all(Campaign(chosen))
    study = build_study(chosen.spaces[0], rows)
    assert Counter(t.state.name for t in study.trials) == {"PRUNED": 8, "COMPLETE": 1}
    (best,) = [t for t in study.trials if t.state.name == "COMPLETE"]
    assert list(best.intermediate_values) == [2 * N, 6 * N, 18 * N]
    assert best.value == best.intermediate_values[18 * N]


@pytest.mark.slow
@pytest.mark.parametrize("words", [SQUEEZED, PREFIX], ids=["squeezed", "prefix"])
@pytest.mark.parametrize("limit", [1, 9, 11, 13])
def test_an_interrupted_search_goes_on_as_the_uninterrupted_one(
    words: tuple[str, ...], limit: int
) -> None:
    whole = Campaign(plan(*words))
    run_all(whole)
    first = run_all(Campaign(plan(*words)), limit=limit)
    campaign = Campaign(plan(*words))
    campaign.replay(first)
    run_all(campaign, rows={r["trial_key"]: r for r in first})
    assert state(campaign) == state(whole)


@pytest.mark.parametrize("words", [SQUEEZED, PREFIX], ids=["squeezed", "prefix"])
def test_trainings_under_way_are_taken_up_again(words: tuple[str, ...]) -> None:
    first = run_all(Campaign(plan(*words)), at_once=3, limit=10)
    running = [r["trial_key"] for r in first if r["status"] == "running"]
    campaign = Campaign(plan(*words))
    campaign.replay(first)
    assert len(running) == 2
    again = [campaign.next() for _ in running]
    assert [t.trial_key for t in again if t] == running


@pytest.mark.parametrize("words", [SQUEEZED, PREFIX], ids=["squeezed", "prefix"])
def test_a_failed_promotion_is_replaced_once_also_after_a_resume(words: tuple[str, ...]) -> None:
    failed: set[str] = set()

    def status_of(trial: TrialConfig) -> Status:
        if trial.is_full and trial.role == "search" and not failed:
            failed.add(trial.config_key)
        return "failed" if trial.config_key in failed and trial.is_full else "completed"

    whole = Campaign(plan(*words))
    rows = run_all(whole, status_of=status_of)
    assert [len(rung.scores) for rung in whole.arms["poly"].halving.rungs] == [9, 3, 1]
    resumed = Campaign(plan(*words))
    resumed.replay(rows)
    assert resumed.finished
    assert [len(rung) for rung in resumed.arms["poly"].halving.rungs] == [9, 3, 1]


@pytest.mark.parametrize("words", [SQUEEZED, PREFIX], ids=["squeezed", "prefix"])
def test_what_diverges_is_not_promoted_and_an_arm_that_only_diverges_is_judged(
    words: tuple[str, ...],
) -> None:
    rows = run_all(Campaign(plan(*words)), status_of=lambda trial: "diverged")
    roles = Counter(r["role"] for r in rows if r["space"] == "poly")
    assert roles == {"search": 9, "confirm": 1}


def test_more_trials_after_the_end_keep_the_rungs_in_proportion() -> None:
    rows = run_all(Campaign(plan(*SQUEEZED)))
    more = Campaign(plan(*SQUEEZED, "trials=18"))
    more.replay(rows)
    run_all(more, rows={r["trial_key"]: r for r in rows})
    assert [len(rung.scores) for rung in more.arms["poly"].halving.rungs] == [18, 6, 2]


def test_records_that_are_not_of_the_plan_are_refused() -> None:
    first = run_all(Campaign(plan(*SQUEEZED)), limit=1)
    config = json.loads(str(first[0]["config_json"]))
    config["recipe"]["model"] = "evil:model"
    changed = {**first[0], "config_json": json.dumps(config), "status": "running"}
    with pytest.raises(ValueError, match="not of this run"):  # nor is what it names trained
        Campaign(plan(*SQUEEZED)).replay([changed])
    config = json.loads(str(first[0]["config_json"]))
    config["params"]["p"] = 0.123
    changed = {**first[0], "config_json": json.dumps(config)}
    with pytest.raises(ValueError, match="not of this run"):
        Campaign(plan(*SQUEEZED)).replay([changed])


def test_squeezed_trainings_of_a_config_are_judged_together() -> None:
    # a: one lucky full training after two poor ones; b: good twice. Levels: see worths.
    worth = worths([{"a": 0.90, "b": 0.99, "c": 0.90}, {"a": 0.90, "b": 0.99}, {"a": 0.91}])
    assert max(worth, key=worth.__getitem__) == "b"


def test_worths_solve_the_penalised_least_squares_problem() -> None:
    # Two configs on one rung: level = mean, worth = deviation / (1 + penalty) by hand.
    worth = worths([{"a": 0.9, "b": 0.99}])
    assert worth["b"] == pytest.approx(0.5 / 1.5)
    assert worth["a"] == pytest.approx(-0.5 / 1.5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("search.fidelity=squeezed", "search.min_horizon=0.01"), "one epoch of samples and 20"),
        (("search.fidelity=prefix", "epochs=2"), "prefixes of 1, 1, 2 epochs do not differ"),
        (("search.fidelity=squeezed", "search.sampler=gp"), "search.sampler=gp"),
        (("search.eta=1",), "search.eta=1: allowed is 2 to 100"),
        (("search.rungs=1",), "search.rungs=1: allowed is 2 to 10"),
        (("confirm.until=decided", "confirm.max_seeds=4"), "confirm.max_seeds=4: must be at"),
        (("confirm.until=decided", "baseline=false"), "needs two arms, or baseline=true"),
        (("search.fidelity=squeezed", "epochs=18", "trials=1"), "more samples than all of them"),
        (
            ("search.fidelity=squeezed", "epochs=1", "reports=5", "search.min_horizon=0.1"),
            r"needs 20 optimizer steps; the smallest allowed value is 0\.\d{4}",
        ),
        (("search.fidelity=prefix", "epochs=1", "reports=2"), "prefixes of 1, 1, 2 reports do"),
    ],
)
def test_rungs_that_say_nothing_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan("confirm.seeds=5", *words)


def test_the_smallest_allowed_horizon_is_allowed_and_a_smaller_one_is_not() -> None:
    words = ("search.fidelity=squeezed", "epochs=9", "dataset.train_examples=600")
    with pytest.raises(ConfigError) as error:
        plan(*words, "search.min_horizon=0.1")
    smallest = float(str(error.value).split("value is ")[1].split(" ")[0])
    assert plan(*words, f"search.min_horizon={smallest}")
    # 480 training images, batch 32: the 20th step begins at sample 608 of 9 * 480.
    assert smallest == pytest.approx(math.ceil(1e4 * 608 / (9 * 480)) / 1e4)
    assert plan(*words).ladder.horizons[0] == smallest  # of itself, where nobody has named one
    with pytest.raises(ConfigError, match="smallest allowed"):
        plan(*words, f"search.min_horizon={smallest - 2e-4}")


@pytest.mark.slow
def test_a_prefix_pauses_and_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    chosen = small_plan("search.fidelity=prefix", "search.eta=2", "search.rungs=2", "epochs=2")
    space = chosen.spaces[0]
    trial = chosen.trial(space, {n: axis.from_unit(0.5) for n, axis in space.ranges.items()})
    whole = results_of(trial, tmp_path / "a")
    first = results_of(chosen.ladder.place(trial, 0), tmp_path / "b")
    assert [r["status"] for r in first] == ["paused"]
    (at_pause,) = (e for r in whole for e in r["records"] if e["epoch"] == 1)
    assert first[-1]["objective"] == at_pause["val_accuracy"]
    rest = results_of(chosen.ladder.place(trial, 1), tmp_path / "b")
    assert len(rest) == 1
    assert [e["epoch"] for e in rest[0]["records"]] == [1, 2]
    assert rest[-1]["outcome"]["objective"] == whole[-1]["outcome"]["objective"]
    assert rest[-1]["outcome"]["final_train_loss"] == whole[-1]["outcome"]["final_train_loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "num_records"), [(100, [1, 2, 3]), (200, [1, 1, 2]), (240, [1, 1, 1])]
)
def test_a_batch_that_passes_several_reports_and_rungs_ends_each_of_them(
    tmp_path: Path, batch: int, num_records: list[int]
) -> None:
    words = (*PREFIX[:1], "search.eta=2", "epochs=1", "reports=20", "baseline=false")
    chosen = small_plan(*words, f"batch.initial={batch}")
    # Of 240 samples the rungs end at 60, 120 and 240: with the first batch that passes them.
    assert [chosen.ladder.samples_on(rung) for rung in range(3)] == [60, 120, 240]
    space = chosen.spaces[0]
    trial = chosen.trial(space, {n: axis.from_unit(0.5) for n, axis in space.ranges.items()})
    (whole,) = (r for r in results_of(trial, tmp_path / "whole") if r["outcome"])
    for rung, num in enumerate(num_records):
        last = results_of(chosen.ladder.place(trial, rung), tmp_path / "rungs")[-1]
        assert last["status"] == ("completed" if rung == 2 else "paused")
        assert last["num_epochs"] == num
    assert last["outcome"]["objective"] == whole["outcome"]["objective"]


def results_of(trial: TrialConfig, checkpoints: Path) -> list[dict]:
    trainable = ScheduledTrainable(
        {"trial": json.dumps(trial.to_dict()), "schedule": None, "device": "cpu",
         "checkpoints": str(checkpoints)}
    )  # fmt: skip
    reported = [trainable.step()]
    while not reported[-1]["done"]:
        reported.append(trainable.step())
    return reported
