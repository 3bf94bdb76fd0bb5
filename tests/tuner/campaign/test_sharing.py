"""Trainings that begin alike: which they are, and that continuing changes nothing."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from search_spaces.trial import TrialConfig
from tests.fakes.trials import small_plan
from trainables.trainable import ScheduledTrainable
from tuner.campaign.campaign import Campaign
from tuner.campaign.sharing import MAX_TRUNK_STATES, Orders, Sharing, prefix_keys, trunk_end
from tuner.config.compose import compose
from tuner.config.schema import ConfigError
from tuner.plan.plan import make_plan

N = 240  # training images of small_plan


def trials(*words: str, spaces: str = "[lr,batch]") -> list[TrialConfig]:
    """lr and batch with a decay every second of six epochs, alike up to the first."""
    fixed = [f"spaces.{name}.delta0.value=0.1" for name in ("lr", "batch")]
    intervals = [f"spaces.{name}.interval.value=2" for name in ("lr", "batch")]
    plan = small_plan(f"space={spaces}", "epochs=6", *fixed, *intervals, *words)
    return [plan.trial(space, space.fixed, role="confirm") for space in plan.spaces]


def one_by_one(trials: list[TrialConfig], *, keeps_trunk: bool = False) -> list[Orders]:
    """What each is told when all are known, and each is trained to its end before the next."""
    sharing = Sharing()
    for trial in trials:
        sharing.expect(trial)
    orders = []
    for trial in trials:
        orders.append(sharing.begin(trial, keeps_trunk=keeps_trunk))
        sharing.reached(trial.trial_key, trial.num_reports, orders[-1].keep.values())
        sharing.ended(trial.trial_key)
    return orders


def first(trials: list[TrialConfig]) -> int:
    """The report from which the second of two continues."""
    return one_by_one(trials)[1].first


def test_schedules_that_agree_for_two_epochs_share_two() -> None:
    lr, batch = trials()
    assert [a == b for a, b in zip(prefix_keys(lr), prefix_keys(batch), strict=True)] == [
        True, True, False, False, False
    ]  # fmt: skip
    ours, theirs = one_by_one([lr, batch])
    assert (ours.first, ours.begin, theirs.first, theirs.keep) == (0, None, 2, {})
    assert ours.keep == {2: theirs.begin}


@pytest.mark.parametrize("changed", [{"seed": 5}, {"lr0": 0.2}], ids=["seed", "lr0"])
def test_what_trains_differently_shares_nothing(changed: dict) -> None:
    lr, batch = trials()
    assert first([lr, replace(batch, **changed)]) == 0


def test_trainings_with_other_numbers_of_their_own_share_nothing() -> None:
    lr, batch = trials()
    ours, theirs = (
        replace(trial, params={**trial.params, "beta2": 0.9}, training=("beta2",))
        for trial in (lr, batch)
    )
    assert first([ours, theirs]) == 2
    assert first([ours, replace(theirs, params={**theirs.params, "beta2": 0.99})]) == 0
    assert first([lr, theirs]) == 0


def test_a_shorter_interval_shares_what_it_leaves_alike() -> None:
    lr, batch = trials()
    other = replace(batch, params={**batch.params, "interval": 1})
    assert first([lr, other]) == 1


def wsd(*words: str, **params: float) -> TrialConfig:
    """wsd with a linear cooldown over f, its other parameters fixed."""
    fixed = [f"spaces.wsd.{name}.value={value}" for name, value in {"p": 1, "delta0": 0.1}.items()]
    plan = small_plan("space=wsd", "spaces.wsd.interval.value=1", *fixed, *words)
    (space,) = plan.spaces
    return plan.trial(space, space.fixed | params)


def test_where_stages_are_cut_makes_no_difference_while_nothing_changes() -> None:
    # Six epochs: both read the curve at u = 1/2, the fourth epoch; then stages of 1 epoch go on.
    fine, coarse = (wsd("epochs=6", f=0.6, interval=n) for n in (1, 3))
    assert (fine.schedule.num_stages, coarse.schedule.num_stages) == (6, 2)
    assert first([fine, coarse]) == 4


def test_one_epoch_shares_a_trunk_up_to_the_last_report_before_it_ends() -> None:
    short, long = (wsd("epochs=1", "reports=5", f=f, interval=0) for f in (0.2, 0.35))
    # f = 0.35 decays from u = 0.65 on, which the third of five reports comes before.
    assert first([short, long]) == 3
    assert long.schedule.report_end(3) == 3 * N // 5


def test_a_squeezed_trunk_is_shared_by_all_that_are_squeezed_alike() -> None:
    short, long = (replace(wsd("epochs=12", f=f), horizon=0.5) for f in (0.25, 0.5))
    # 12 epochs in 6: the first decay is epoch 7 of 12 at f = 0.5, whose start is 3.5 of 6.
    assert trunk_end(long) == 3
    assert first([short, long]) == 3
    # The full training stands still for longer, in the same state.
    assert first([short, wsd("epochs=12", f=0.25)]) == trunk_end(short)


@pytest.mark.parametrize(("f", "end"), [(0.25, 5), (0.5, 4), (0.7, 2), (0.9, 1)])
def test_a_trunk_ends_where_delta_first_falls(f: float, end: int) -> None:
    # Six epochs, one stage each: u = m/6 is beyond 1-f first at m = floor(6(1-f)) + 1.
    assert trunk_end(wsd("epochs=6", f=f)) == end


def test_a_trunk_holds_its_warmup() -> None:
    # Two of eight epochs rise, then the curve begins: u = m/6 of the other six.
    assert trunk_end(wsd("epochs=8", "warmup_epochs=2", f=0.5)) == 2 + 4


def test_what_never_decays_is_all_trunk() -> None:
    plan = small_plan("space=constant", "epochs=6", "spaces.constant.delta0.value=0.1")
    assert trunk_end(plan.trial(plan.spaces[0], plan.spaces[0].fixed)) == 5


def test_suggestions_continue_from_the_longest_trunk_so_far() -> None:
    """1 trunk and the tails: what a tree of the schedules needs, in whatever order they come."""
    sharing, trained = Sharing(), 0
    shares = (0.5, 0.25, 0.9, 0.4, 0.7)
    for f in shares:
        trial = wsd("epochs=6", f=f)
        orders = sharing.begin(trial, keeps_trunk=True)
        trained += 6 - orders.first
        sharing.reached(trial.trial_key, 6, orders.keep.values())
        sharing.ended(trial.trial_key)
    ends = [math.floor(6 * (1 - f)) + 1 for f in shares]
    assert trained == max(ends) + sum(6 - end for end in ends)


def test_of_many_reports_some_are_kept_and_the_last_of_the_trunk() -> None:
    trial = wsd("epochs=1", "reports=80", "batch.initial=2", f=0.5, interval=0)
    keep = Sharing().begin(trial, keeps_trunk=True).keep
    assert trial.num_reports == 80 > MAX_TRUNK_STATES
    assert [*keep] == [*range(3, trunk_end(trial), 3), trunk_end(trial)]


def test_a_prefix_begins_and_keeps_no_further_than_it_goes() -> None:
    trial, sharing = wsd("epochs=6", f=0.25), Sharing()
    orders = sharing.begin(replace(trial, until=2), keeps_trunk=True)
    assert [*orders.keep] == [1, 2]
    sharing.reached(trial.trial_key, 2, orders.keep.values())
    sharing.ended(trial.trial_key)
    assert [*sharing.begin(trial, keeps_trunk=True).keep] == [3, 4, 5]
    sharing.reached(trial.trial_key, 6, prefix_keys(trial))
    other = replace(wsd("epochs=6", f=0.3), until=2)
    assert sharing.begin(other, keeps_trunk=True).first == 2


def test_another_recipe_shares_nothing() -> None:
    lr, batch = trials()
    recipe = replace(batch.recipe, weight_decay=0.0)
    assert first([lr, replace(batch, recipe=recipe)]) == 0


def test_explicit_smoothing_is_shared_by_equal_radii_alone() -> None:
    lr, batch = trials()
    radii = [
        replace(trial, params={**trial.params, "radius0": radius})
        for trial, radius in ((lr, 0.5), (batch, 0.5), (batch, 0.6))
    ]
    assert first(radii[:2]) == 2
    assert first([radii[0], radii[2]]) == 0
    assert first([lr, radii[1]]) == 0


def test_a_state_is_named_by_the_hash_of_all_that_it_depends_on() -> None:
    """The name is that of a file, which a resumed run is to find again."""
    (lr, _), measured = trials(), {"noise": {"pairs": 2, "every": 1}}
    recipe = replace(lr.recipe, measurements=measured)
    trial = replace(lr, recipe=recipe, params={**lr.params, "radius0": 0.5})
    for given, radius in ((replace(lr, recipe=recipe), []), (trial, [0.5, lr.lr0, lr.batch0])):
        base = {
            "recipe": recipe.identity() | {"measurements": measured},
            "seed": lr.seed,
            "radius": radius,
        }
        table = lr.schedule
        # Stages of two epochs: epochs 1 and 2 depend on the first, 3 and 4 on two, 5 on all.
        rows = [
            struct.pack("=5d", table.start_S[i], table.lr_S[i], table.batch_size_S[i],
                        table.momentum_S[i], table.delta_S[i])
            for i in range(3)
        ]  # fmt: skip
        text = json.dumps(base, sort_keys=True).encode()
        parts = [text + b"".join(rows[: 1 + i // 2]) for i in range(5)]
        hashes = [hashlib.sha256(part).hexdigest()[:16] for part in parts]
        assert prefix_keys(given) == [f"{key}-{i}" for i, key in enumerate(hashes, start=1)]


def test_who_shares_nothing_keeps_nothing_and_begins_anew() -> None:
    (lr, _), sharing = trials(), Sharing()
    sharing.expect(lr)
    sharing.begin(lr, keeps_trunk=False)
    assert sharing.orders(lr) == {"keep": {}, "begin": None}


@pytest.fixture
def running() -> tuple[Sharing, TrialConfig, TrialConfig, str]:
    """lr is being trained, batch is to follow from its second epoch on: the key of that state."""
    lr, batch = trials()
    sharing = Sharing()
    for trial in (lr, batch):
        sharing.expect(trial)
    (key,) = sharing.begin(lr, keeps_trunk=False).keep.values()
    return sharing, lr, batch, key


def test_followers_wait_for_the_state_and_no_longer(running) -> None:
    sharing, lr, batch, key = running
    assert sharing.waits(batch)
    sharing.reached(lr.trial_key, 0, [])
    sharing.reached(lr.trial_key, 1, [])
    assert sharing.waits(batch)
    sharing.reached(lr.trial_key, 2, [key])
    sharing.reached(lr.trial_key, 1, [])  # told late
    assert not sharing.waits(batch)
    sharing.begin(batch, keeps_trunk=False)
    assert sharing.orders(batch) == {"keep": {}, "begin": key}


def test_nobody_waits_for_a_state_that_could_not_be_kept(running) -> None:
    sharing, lr, batch, _ = running
    sharing.reached(lr.trial_key, 2, [])
    assert not sharing.waits(batch)
    assert sharing.begin(batch, keeps_trunk=False).begin is None


def test_who_fails_to_keep_one_state_is_not_waited_for_at_all() -> None:
    owner, follower, sharing = wsd("epochs=6", f=0.25), wsd("epochs=6", f=0.3), Sharing()
    keep = sharing.begin(owner, keeps_trunk=True).keep
    sharing.reached(owner.trial_key, 1, [])
    assert not sharing.waits(follower)
    sharing.reached(owner.trial_key, 2, [keep[2]])  # the disk has room again
    assert sharing.begin(follower, keeps_trunk=True).first == 2


def test_the_next_in_line_makes_what_a_lost_training_did_not(running) -> None:
    sharing, lr, batch, key = running
    third = replace(batch, params={**batch.params, "split": 0.5})
    sharing.expect(third)
    sharing.ended(lr.trial_key)
    assert not sharing.waits(batch)
    assert sharing.begin(batch, keeps_trunk=False).keep == {2: key}
    assert sharing.waits(third)


def test_what_has_been_under_way_goes_on_from_its_own_state(running) -> None:
    sharing, _, batch, _ = running
    sharing.begin(batch, keeps_trunk=False)
    sharing.ended(batch.trial_key)
    assert not sharing.waits(batch)


def test_states_are_dropped_when_nobody_begins_from_them_any_more(running) -> None:
    sharing, lr, batch, key = running
    sharing.reached(lr.trial_key, 2, [key])
    assert sharing.drop_unneeded() == set()  # batch is known to come
    sharing.begin(batch, keeps_trunk=False)
    assert sharing.drop_unneeded() == set()  # it has not read it yet
    sharing.reached(batch.trial_key, 3, [])
    assert sharing.drop_unneeded() == {key}
    assert sharing.states == set()


def test_states_of_an_earlier_process_are_begun_from() -> None:
    _, batch = trials()
    sharing = Sharing()
    sharing.states.add(prefix_keys(batch)[1])
    assert sharing.begin(batch, keeps_trunk=False).first == 2


def test_the_campaign_hands_out_the_follower_when_its_state_is_there() -> None:
    fixed = [f"spaces.{n}.{p}" for n in ("lr", "batch") for p in ("delta0.value=0.1",)]
    plan = small_plan(
        "space=[lr,batch]", "epochs=6", "search.share_prefix=true", "confirm.seeds=1",
        "baseline=false", *fixed,
    )  # fmt: skip
    campaign = Campaign(plan)
    first = campaign.next()
    assert first is not None
    assert campaign.next() is None
    assert not campaign.finished
    kept = campaign.sharing.orders(first)["keep"]
    campaign.sharing.reached(first.trial_key, 1, [kept[1]])
    second = campaign.next()
    assert second is not None
    assert {first.space, second.space} == {"lr", "batch"}
    assert campaign.sharing.orders(second)["begin"] == kept[1]


@pytest.mark.slow
def test_a_shared_beginning_changes_nothing_to_the_last_bit(tmp_path: Path) -> None:
    lr, batch = trials()
    ours, theirs = one_by_one([lr, batch])
    alone = train(batch, tmp_path / "alone", {})
    owner = train(lr, tmp_path / "shared", {"keep": ours.keep})
    shared = train(batch, tmp_path / "shared", {"begin": theirs.begin})
    assert owner.kept == [theirs.begin]
    assert (alone.shared_samples, shared.shared_samples) == (0, 2 * N)
    assert shared.training is not None
    assert alone.training is not None
    ours, theirs = shared.training.state_dict(), alone.training.state_dict()
    assert all(torch.equal(ours["model"][k], theirs["model"][k]) for k in theirs["model"])
    assert timeless(shared) == timeless(alone)


def timeless(trainable: ScheduledTrainable) -> list[dict]:
    assert trainable.training is not None
    times = ("seconds", "eval_seconds", "images_per_second", "wall_seconds")
    return [
        {k: v for k, v in asdict(record).items() if k not in times}
        for record in trainable.training.records
    ]


def train(trial: TrialConfig, checkpoints: Path, share: dict) -> ScheduledTrainable:
    trainable = ScheduledTrainable(
        {"trial": json.dumps(trial.to_dict()), "schedule": None, "device": "cpu",
         "checkpoints": str(checkpoints), "share": share}
    )  # fmt: skip
    while not trainable.step()["done"]:
        pass
    return trainable


@pytest.mark.slow
def test_a_state_from_stages_cut_elsewhere_is_told_in_ones_own(tmp_path: Path) -> None:
    fine, coarse = (wsd("epochs=6", f=0.6, interval=n) for n in (1, 3))
    ours, theirs = one_by_one([fine, coarse])
    train(fine, tmp_path / "shared", {"keep": ours.keep})
    shared = train(coarse, tmp_path / "shared", {"begin": theirs.begin})
    assert shared.shared_samples == 4 * N
    assert timeless(shared) == timeless(train(coarse, tmp_path / "alone", {}))


def test_a_known_function_is_not_shared() -> None:
    with pytest.raises(ConfigError, match="share_prefix=true: a known function"):
        make_plan(compose(["workload=rastrigin", "search.share_prefix=true"]))
