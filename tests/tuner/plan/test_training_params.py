"""Numbers of the recipe, and of a user's own training, as parameters of a space."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from search_spaces.space import Range
from tuner.config.compose import compose
from tuner.config.schema import ConfigError
from tuner.plan.plan import Plan, make_plan
from tuner.plan.spaces import corners

OWN = (
    *("trainable=tests.fakes.decayed:train", "dataset.train_examples=60", "lr=0.5"),
    *("batch.initial=6", "epochs=4"),
)


def plan(*words: str) -> Plan:
    return make_plan(compose(list(words)))


def middle(plan: Plan, **params: float) -> dict[str, float]:
    space = plan.spaces[0]
    return {name: axis.from_unit(0.5) for name, axis in space.ranges.items()} | params


def test_what_a_config_gives_stands_in_the_place_of_the_recipes() -> None:
    words = ["spaces.poly.weight_decay.low=1e-5", "spaces.poly.weight_decay.high=0.01"]
    words += ["spaces.poly.weight_decay.log=true", "spaces.poly.width.choices=[4,8]"]
    words += ["spaces.poly.label_smoothing.value=0.1", "spaces.poly.clip_norm.value=2"]
    found = plan(*words, "optimizer.weight_decay=0.5")
    (space,) = found.spaces
    assert space.free["weight_decay"] == Range(low=1e-5, high=0.01, log=True)
    assert space.free["width"] == Range(choices=(4.0, 8.0), integer=True)
    trial = found.trial(space, middle(found, width=8, weight_decay=1e-3))
    recipe = trial.recipe
    assert (recipe.weight_decay, recipe.width) == (1e-3, 8)
    assert (recipe.label_smoothing, recipe.clip_norm) == (0.1, 2.0)
    assert set(trial.curve_params) == {"p"}
    assert found.baseline is not None
    baseline = found.trial(found.baseline, found.baseline.fixed)
    assert baseline.recipe == found.recipe
    assert (found.recipe.weight_decay, found.recipe.clip_norm) == (0.5, None)


@pytest.mark.parametrize("momentum", [0.5, 0.95])
def test_lr0_follows_from_delta0_by_the_trials_own_momentum(momentum: float) -> None:
    found = plan("spaces.poly.momentum.low=0.3", "spaces.poly.momentum.high=0.99", "epochs=6")
    params = middle(found, momentum=momentum, delta0=0.2)
    trial = found.trial(found.spaces[0], params)
    # Heavy ball: delta = lr / (1 - beta) / sqrt(b) in units of C.
    assert trial.lr0 == pytest.approx(0.2 * (1 - momentum) * math.sqrt(found.recipe.batch0))
    assert trial.schedule.momentum_S[0] == momentum
    assert trial.schedule.delta_S[0] == pytest.approx(0.2)


def test_the_largest_batch_may_differ_between_configs() -> None:
    words = ["space=batch", "spaces.batch.batch_max.choices=[64,512]", "epochs=15"]
    found = plan(*words, "baseline=false")
    for cap in (64, 512):
        table = found.trial(found.spaces[0], middle(found, batch_max=cap)).schedule
        assert table.batch_size_S.max() <= cap
        assert bool(table.capped_S.any()) == (found.recipe.batch0 * 2 ** (6 / 2) > cap)


def test_what_has_nothing_to_do_with_the_schedule_adds_no_corner() -> None:
    words = [
        "spaces.poly.weight_decay.choices=[0,0.1,0.2]",
        "spaces.poly.batch_max.choices=[64,512]",
    ]
    found = plan(*words)
    count = len(list(corners(found.config, found.recipe, found.spaces[0])))
    assert count == 2 ** len({"p", "interval", "delta0", "batch_max"})


def test_arms_that_differ_in_a_number_of_the_training_only_can_differ() -> None:
    words = ["space=[linear,poly]", "spaces.poly.p.value=1"]
    with pytest.raises(ConfigError, match="linear and poly cannot differ"):
        plan(*words)
    plan(*words, "spaces.poly.weight_decay.value=0.01")
    own = ["space=[linear,poly]", "spaces.poly.p.value=1", *OWN]
    plan(*own, "spaces.poly.beta2.value=0.9")


def test_a_users_training_is_handed_any_name() -> None:
    words = ["spaces.poly.beta2.low=0.9", "spaces.poly.beta2.high=0.999"]
    words += ["spaces.poly.weight_decay.value=0.3", "spaces.poly.momentum.value=0.5"]
    found = plan(*OWN, *words)
    assert found.handed == ("beta2", "weight_decay")
    trial = found.trial(found.spaces[0], middle(found, beta2=0.98))
    assert trial.training_params == {"beta2": 0.98, "momentum": 0.5, "weight_decay": 0.3}
    assert (trial.recipe.weight_decay, trial.recipe.momentum) == (0.3, 0.5)


def test_a_space_file_names_numbers_of_the_training_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("family: cosine\nweight_decay: {low: 1.0e-5, high: 0.01, log: true}\n")
    (space,) = plan(f"space={path}").spaces
    assert space.training == ("weight_decay",)
    assert space.free["weight_decay"].log
    path.write_text("family: cosine\nbeta2: {choices: [0.9, 0.99]}\n")
    (space,) = plan(f"space={path}", *OWN).spaces
    assert space.training == ("beta2",)
    with pytest.raises(ConfigError, match="unknown parameter 'beta2'"):
        plan(f"space={path}")
    path.write_text("family: cosine\nweight_decai: 0.1\n")
    with pytest.raises(ConfigError, match="did you mean 'weight_decay'"):
        plan(f"space={path}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("wieght_decay.value=1",),
            "unknown parameter 'wieght_decay'; did you mean 'weight_decay'",
        ),
        (("optimizer.weight_decay.value=1",), r"write spaces\.<space>\.weight_decay\.<low"),
        (("weight_decay.low=1",), r"^spaces\.poly\.weight_decay: one of low and high"),
        (
            ("weight_decay.low=-1", "weight_decay.high=1"),
            r"^spaces\.poly\.weight_decay=-1: allowed is >= 0",
        ),
        (("momentum.low=0.5", "momentum.high=1"), r"^spaces\.poly\.momentum=1: .*0 to below 1"),
        (("width.value=2.5",), r"^spaces\.poly\.width: whole numbers only"),
        (("width.choices=[4,0]",), r"^spaces\.poly\.width=0: allowed is 1 to 4,096"),
        (("batch_max.choices=[4,64]",), r"^spaces\.poly\.batch_max=4\.0: `batch_max >= 32` must"),
        (("clip_norm.value=0",), r"^spaces\.poly\.clip_norm=0: allowed is > 0"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        plan(*(f"spaces.poly.{word}" for word in words))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("spaces.poly.seed.value=1",),
            r"^spaces\.poly\.seed: is a column of the records already",
        ),
        (("spaces.poly.f.value=1",), "unknown parameter 'f'"),
        (("spaces.poly.family.value=1",), "unknown parameter 'family'"),
        (("spaces.poly.momentum.value=1",), r"^spaces\.poly\.momentum=1: allowed is 0 to below 1"),
        (
            ("optimizer=adamw", "spaces.poly.momentum.value=0.5"),
            r"^spaces\.poly\.momentum: adamw has none",
        ),
    ],
)
def test_bad_names_of_a_users_training_are_one_line(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        plan(*OWN, *words)
    assert "\n" not in str(caught.value)


def test_nesterov_needs_momentum_in_every_config() -> None:
    words = ["optimizer.momentum=0.9", "optimizer.nesterov=true", "spaces.poly.momentum.high=0.99"]
    plan(*words, "spaces.poly.momentum.low=0.1")
    with pytest.raises(ConfigError, match=r"^spaces\.poly\.momentum=0: needs optimizer\.nesterov"):
        plan(*words, "spaces.poly.momentum.low=0")


def test_a_known_function_has_no_weights_to_decay() -> None:
    plan("workload=ackley", "spaces.poly.batch_max.value=1000000")
    with pytest.raises(ConfigError, match="unknown parameter 'weight_decay'"):
        plan("workload=ackley", "spaces.poly.weight_decay.value=1")
