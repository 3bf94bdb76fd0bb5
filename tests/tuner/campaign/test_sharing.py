"""Trainings that begin alike: which they are, and that continuing changes nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from search_spaces.trial import TrialConfig
from tests.fakes.trials import small_plan
from trainables.trainable import ScheduledTrainable
from tuner.campaign.campaign import Campaign
from tuner.campaign.sharing import Sharing, prefix_keys
from tuner.config.schema import ConfigError

N = 240  # training images of small_plan


def trials(*words: str, spaces: str = "[lr,batch]") -> list[TrialConfig]:
    """lr and batch with a decay every second of six epochs, alike up to the first."""
    fixed = [f"spaces.{name}.delta0.value=0.1" for name in ("lr", "batch")]
    intervals = [f"spaces.{name}.interval.value=2" for name in ("lr", "batch")]
    plan = small_plan(f"space={spaces}", "epochs=6", *fixed, *intervals, *words)
    return [plan.trial(space, space.fixed, role="confirm") for space in plan.spaces]


def test_schedules_that_agree_for_two_epochs_share_two() -> None:
    lr, batch = trials()
    assert [a == b for a, b in zip(prefix_keys(lr), prefix_keys(batch), strict=True)] == [
        True, True, False, False, False
    ]  # fmt: skip
    sharing = Sharing([lr, batch])
    assert sharing.saved_samples == 2 * N
    assert sharing.total_samples == 2 * 6 * N
    assert sharing.beginnings[batch.trial_key].report == 2
    assert sharing.orders(lr)["keep"] == {2: sharing.orders(batch)["begin"]}


@pytest.mark.parametrize("changed", [{"seed": 5}, {"lr0": 0.2}], ids=["seed", "lr0"])
def test_what_trains_differently_shares_nothing(changed: dict) -> None:
    lr, batch = trials()
    assert not Sharing([lr, replace(batch, **changed)]).beginnings


def test_a_shorter_interval_shares_what_it_leaves_alike() -> None:
    lr, batch = trials()
    other = replace(batch, params={**batch.params, "interval": 1})
    assert Sharing([lr, other]).beginnings[other.trial_key].report == 1


def test_one_epoch_shares_a_trunk_up_to_the_last_report_before_it_ends() -> None:
    grid = ("spaces.wsd.f.choices=[0.2,0.35]", "spaces.wsd.p.value=1")
    plan = small_plan(
        *("space=wsd", "epochs=1", "reports=5", "search.sampler=grid", *grid),
        "spaces.wsd.delta0.value=0.1",
    )
    (space,) = plan.spaces
    first, second = (plan.trial(space, space.fixed | point) for point in space.grid())
    sharing = Sharing([first, second])
    # f = 0.35 decays from u = 0.65 on, which the third of five reports comes before.
    assert sharing.beginnings[second.trial_key].report == 3
    assert sharing.saved_samples == 3 * N // 5


def test_another_recipe_shares_nothing() -> None:
    lr, batch = trials()
    recipe = replace(batch.recipe, weight_decay=0.0)
    assert not Sharing([lr, replace(batch, recipe=recipe)]).beginnings


def test_explicit_smoothing_is_shared_by_equal_radii_alone() -> None:
    lr, batch = trials()
    radii = [
        replace(trial, params={**trial.params, "radius0": radius})
        for trial, radius in ((lr, 0.5), (batch, 0.5), (batch, 0.6))
    ]
    assert Sharing(radii[:2]).beginnings[radii[1].trial_key].report == 2
    assert not Sharing([radii[0], radii[2]]).beginnings
    assert not Sharing([lr, radii[1]]).beginnings


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
            repr((int(table.start_S[i]), float(table.lr_S[i]), int(table.batch_size_S[i]),
                  float(table.momentum_S[i]), float(table.delta_S[i])))
            for i in range(3)
        ]  # fmt: skip
        texts = [json.dumps(base, sort_keys=True) + "".join(rows[: 1 + i // 2]) for i in range(5)]
        hashes = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts]
        assert prefix_keys(given) == [f"{key}-{i}" for i, key in enumerate(hashes, start=1)]


def test_who_shares_nothing_keeps_nothing_and_begins_anew() -> None:
    (lr, _) = trials()
    assert Sharing([lr]).orders(lr) == {"keep": {}, "begin": None}


def test_an_epoch_reported_late_takes_nothing_back() -> None:
    lr, batch = trials()
    sharing = Sharing([lr, batch])
    sharing.reached(lr.trial_key, 2)
    sharing.reached(lr.trial_key, 1)
    assert not sharing.waits(batch)


def test_the_first_report_is_counted_from_nothing() -> None:
    lr, batch = trials()
    other = replace(batch, params={**batch.params, "interval": 1})  # shares one epoch
    sharing = Sharing([lr, other])
    sharing.reached(lr.trial_key, 0)
    assert sharing.waits(other)


def test_followers_wait_for_the_state_and_no_longer() -> None:
    lr, batch = trials()
    sharing = Sharing([lr, batch])
    assert (sharing.waits(lr), sharing.waits(batch)) == (False, True)
    sharing.reached(lr.trial_key, 1)
    assert sharing.waits(batch)
    sharing.reached(lr.trial_key, 2)
    assert not sharing.waits(batch)
    lost = Sharing([lr, batch])
    lost.ended(lr.trial_key)
    assert not lost.waits(batch)


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
    campaign.sharing.reached(first.trial_key, 1)
    second = campaign.next()
    assert second is not None
    assert {first.space, second.space} == {"lr", "batch"}


@pytest.mark.slow
def test_a_shared_beginning_changes_nothing_to_the_last_bit(tmp_path: Path) -> None:
    lr, batch = trials()
    sharing = Sharing([lr, batch])
    alone = train(batch, tmp_path / "alone", {})
    train(lr, tmp_path / "shared", sharing.orders(lr))
    shared = train(batch, tmp_path / "shared", sharing.orders(batch))
    assert (alone.num_shared, shared.num_shared) == (0, 2)
    assert shared.training is not None
    assert alone.training is not None
    ours, theirs = shared.training.state_dict(), alone.training.state_dict()
    assert all(torch.equal(ours["model"][k], theirs["model"][k]) for k in theirs["model"])
    assert timeless(shared) == timeless(alone)


def timeless(trainable: ScheduledTrainable) -> list[dict]:
    assert trainable.training is not None
    times = ("seconds", "eval_seconds", "images_per_second")
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "needs search.sampler=grid, or arms with one config each"),
        (
            ("space=lr", "spaces.lr.delta0.value=0.1", "search.fidelity=prefix", "epochs=18"),
            "fidelity=full",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_plan("search.share_prefix=true", *words)
