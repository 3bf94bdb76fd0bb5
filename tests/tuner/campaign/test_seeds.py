"""Seeds that are added until the verdict is decided, and what a resumed run counts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from search_spaces.records import Status
from search_spaces.trial import TrialConfig
from tests.tuner.campaign.test_campaign import Row, plan, row, run_all
from tuner.campaign.campaign import Campaign

FIXED = ("space=[lr,batch]", "spaces.lr.delta0.value=0.1", "spaces.batch.delta0.value=0.1")
DECIDED = (*FIXED, "baseline=false", "confirm.until=decided", "confirm.seeds=3")
Accuracy = Callable[[TrialConfig], float | None]


def campaign(*words: str) -> Campaign:
    return Campaign(plan(*DECIDED, "confirm.max_seeds=8", *words))


def tell(campaign: Campaign, trial: TrialConfig, accuracy: float | None) -> Row:
    """The training ended so, or was lost; its row."""
    status: Status = "failed" if accuracy is None else "completed"
    objective = None if accuracy is None else 0.5
    campaign.tell(trial, status, objective, accuracy)
    return {**row(trial, status, objective), "test_accuracy": accuracy}


def confirm(campaign: Campaign, accuracy: Accuracy, limit: int | None = None) -> list[Row]:
    rows: list[Row] = []
    for _ in count() if limit is None else range(limit):
        if campaign.finished:
            break
        trial = campaign.next()
        assert trial is not None
        rows.append(tell(campaign, trial, accuracy(trial)))
    return rows


def clear(trial: TrialConfig) -> float:
    """lr is better by 0.8 on every seed, to within 1e-6."""
    return 0.1 + 0.8 * (trial.space == "lr") + 1e-6 * (trial.space == "lr") * trial.replicate


def equal(trial: TrialConfig) -> float:
    """lr is better by a few millionths: not worth calling better."""
    return 0.5 + 1e-6 * (trial.space == "lr") * (1 - trial.replicate % 2)


def open_verdict(trial: TrialConfig) -> float:
    """Each is better by 0.2 on every other seed."""
    return 0.5 + 0.2 * ((trial.space == "lr") == bool(trial.replicate % 2))


def seeds(rows: list[Row]) -> dict[object, list[object]]:
    return {
        space: sorted(r["replicate"] for r in rows if r["space"] == space)
        for space in ("lr", "batch")
    }


@pytest.mark.parametrize(
    ("accuracy", "words", "num"),
    [
        # The evidence of n seeds is at most (n+1)^((n-1)/2): 11.2 of 4, 36 of 5, 20 are asked.
        (clear, (), 5),
        (clear, ("confirm.max_seeds=4",), 4),
        (open_verdict, (), 8),
        (equal, (), 5),
    ],
)
def test_seeds_are_added_to_all_arms_until_the_verdict_is_clear(
    accuracy: Accuracy, words: tuple[str, ...], num: int
) -> None:
    rows = confirm(campaign(*words), accuracy)
    assert seeds(rows) == {"lr": list(range(num)), "batch": list(range(num))}


def test_an_arm_that_only_diverges_leaves_the_verdict_to_the_others() -> None:
    words = (*DECIDED, "confirm.max_seeds=8", "objective=val_loss", "baseline=true")
    running = Campaign(plan(*words))
    seen: dict[str, set[int]] = {}
    while not running.finished:
        trial = running.next()
        assert trial is not None
        seen.setdefault(trial.space, set()).add(trial.replicate)
        lost = trial.space == "baseline"
        score = None if lost else clear(trial)
        running.tell(trial, "diverged" if lost else "completed", score, score)
    assert set(map(len, seen.values())) == {5}, "as many as where the two are alone"


def test_without_until_decided_the_seeds_are_those_asked_for() -> None:
    rows = confirm(Campaign(plan(*FIXED, "baseline=false", "confirm.seeds=3")), open_verdict)
    assert seeds(rows) == {"lr": [0, 1, 2], "batch": [0, 1, 2]}


def test_a_seed_with_a_lost_training_decides_nothing() -> None:
    def accuracy(trial: TrialConfig) -> float | None:
        return None if (trial.space, trial.replicate) == ("batch", 1) else clear(trial)

    rows = confirm(campaign(), accuracy)
    assert seeds(rows) == {"lr": list(range(6)), "batch": list(range(6))}


def test_the_next_seed_begins_while_the_last_one_is_under_way_and_no_earlier() -> None:
    running = campaign()
    trials = [running.next() for _ in range(6)]
    live = {(t.space, t.replicate): t for t in trials if t}
    assert running.next() is None
    for key in (("lr", 0), ("batch", 0), ("lr", 1)):
        tell(running, live[key], open_verdict(live[key]))
    assert running.next() is None
    tell(running, live["batch", 1], 0.5)
    added = [running.next(), running.next()]
    assert {(t.space, t.replicate) for t in added if t} == {("lr", 3), ("batch", 3)}
    assert running.next() is None  # seeds 2 and 3 are under way
    assert not running.finished


@pytest.mark.parametrize(("limit", "num"), [(3, 3), (7, 4), (9, 5), (10, 5)])
def test_a_resume_keeps_the_seeds_that_were_added(limit: int, num: int) -> None:
    rows = confirm(campaign(), clear, limit)
    resumed = campaign()
    resumed.replay(rows)
    assert resumed.num_seeds == num
    assert resumed.finished == (limit == 10)
    more = confirm(resumed, clear)
    assert seeds(rows + more) == {"lr": list(range(5)), "batch": list(range(5))}
    assert not {r["trial_key"] for r in rows} & {r["trial_key"] for r in more}


def test_select_seeds_add_none_to_confirm() -> None:
    words = ("trials=2", "confirm.top_k=2", "confirm.select_seeds=3", "confirm.seeds=1")
    rows = run_all(Campaign(plan(*words)))
    resumed = Campaign(plan(*words))
    resumed.replay(rows)
    assert resumed.num_seeds == 1
    assert resumed.finished


def test_the_verdict_waits_for_arms_that_still_search() -> None:
    words = ("confirm.until=decided", "confirm.seeds=3", "confirm.max_seeds=8")
    running = Campaign(plan("trials=3", *words))
    assert [t.role for t in [running.next() for _ in range(3)] if t] == ["search"] * 3
    for _ in range(3):
        trial = running.next()
        assert trial is not None
        assert trial.space == "baseline"
        tell(running, trial, 0.5)
    assert running.next() is None
    assert running.num_seeds == 3


def test_what_ended_and_still_serves_the_run_is_counted() -> None:
    ended = Campaign(plan("trials=3", "confirm.seeds=1", "confirm.top_k=2"))
    rows = run_all(ended)
    by_role = {r["role"]: [x for x in rows if x["role"] == r["role"]] for r in rows}
    assert all(map(ended.counts, by_role["search"]))
    chosen = ended.arms["poly"].chosen
    assert chosen is not None
    is_chosen = [r["config_key"] == chosen.config_key for r in by_role["select"]]
    assert [ended.counts(r) for r in by_role["select"]] == is_chosen
    assert {*is_chosen} == {True, False}
    assert all(map(ended.counts, by_role["confirm"]))
    first = by_role["search"][0]
    assert ended.counts({**first, "status": "oom"})
    assert not ended.counts({**first, "status": "running"})
    assert not ended.counts({**first, "status": "failed"})
    assert not ended.counts({**first, "space": "none of these"})
    assert not Campaign(plan("trials=3")).counts(by_role["confirm"][-1])


@pytest.mark.parametrize(
    ("fidelity", "numbers"), [("prefix", {2: 1, 6: 2, 18: 3}), ("squeezed", {2: 1, 6: 1, 18: 1})]
)
def test_a_prefix_stands_for_the_rungs_that_it_passed(
    fidelity: str, numbers: dict[int, int]
) -> None:
    words = (f"search.fidelity={fidelity}", "epochs=18", "trials=9", "confirm.seeds=1")
    chosen = plan(*words)
    searched = Campaign(chosen)
    trial = searched.next()
    assert trial is not None
    for rung, number in enumerate(numbers.values()):
        placed = chosen.ladder.place(trial, rung)
        assert searched.num_rungs(row(placed, "paused", 0.5)) == number
    confirmed = chosen.trial(chosen.spaces[0], trial.params, role="confirm")
    assert searched.num_rungs(row(confirmed, "completed", 0.5)) == 1
