"""A key that was given and changes nothing is told; one that a preset or workload sets is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.config.compose import compose
from tuner.config.effects import NEEDS, check_effects
from tuner.config.presets import PRESETS
from tuner.config.schema import KEYS, ConfigError, make_config
from tuner.plan.plan import make_plan

FIXED = " ".join(f"spaces.poly.{name}.value=1" for name in ("p", "interval", "delta0"))
REFUSED = [
    ("search.eta=2", "search.eta=2: has no effect; it needs search.fidelity=squeezed or prefix"),
    ("search.promote=late", "search.promote=late: has no effect; it needs search.fidelity="),
    ("confirm.max_seeds=9", "confirm.max_seeds=9: has no effect; it needs confirm.until=decided"),
    ("confirm.select_seeds=3", "has no effect; it needs confirm.top_k above 1"),
    ("noise.pairs=3", "has no effect; it needs 'measure=[noise]' or 'measure=[sampling]'"),
    ("noise.pairs=3 measure=sharpness", "noise.pairs=3: has no effect"),
    ("noise.source=given", "noise.source=given: has no effect; it needs noise.c2"),
    ("critical.epsilon=[0.25]", "critical.epsilon=[0.25]: has no effect"),
    ("sharpness.rho=0.1", "sharpness.rho=0.1: has no effect; it needs 'measure=[sharpness]'"),
    ("tracking.project=x", "tracking.project=x: has no effect; it needs 'track=[wandb]' or"),
    ("recipe.family=poly baseline=false", "recipe.family=poly: has no effect; it needs baseline"),
    ("recipe.end=0.1 baseline=false", "recipe.end=0.1: has no effect; it needs baseline=true or"),
    ("recipe.family=poly recipe.p=2 baseline=no", "recipe.p: has no effect; it needs baseline="),
    ("baseline.name=mine baseline=no", "baseline.name=mine: has no effect; it needs baseline="),
    ("preset=p1_methods_cpu search.hours=2", "it needs another search.sampler than grid"),
    ("confirm.hours=1 confirm.seeds=2", "confirm.hours=1.0: has no effect; it needs confirm."),
    (
        "search.hours=2 search.promote=early search.fidelity=squeezed",
        "search.hours=2: needs search.promote=late",
    ),
    (f"{FIXED} search.hours=2", "search.hours=2: has no effect; no arm has anything to search"),
    ("preset=p1_methods_cpu search.budget=9999", "it needs another search.sampler than grid"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[words for words, _ in REFUSED])
def test_a_key_without_effect_is_refused_in_one_line(words: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan(compose(words.split()))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        "search.eta=2 search.fidelity=squeezed",
        "confirm.max_seeds=9 confirm.until=decided",
        "confirm.select_seeds=3 confirm.top_k=2",
        "search.hours=0.5 confirm.hours=1",
        "confirm.hours=1 confirm.seeds=2 confirm.until=decided",
        "noise.pairs=3 measure=sampling",
        "noise.pairs=3 measure=[noise,sharpness] sharpness.rho=0.1",
        "noise.source=measured noise.c2=3",
        "search.min_horizon=null",
        "recipe.family=poly",
        "recipe.family=poly recipe.p=2 recipe.end=0.1 baseline.name=mine",
        "baseline=tuned recipe.end=0.1",
    ],
)
def test_a_key_with_its_need_met_is_taken(words: str) -> None:
    make_plan(compose(words.split()))


@pytest.mark.parametrize("preset", PRESETS)
def test_what_a_built_in_preset_or_workload_sets_is_never_told(preset: str) -> None:
    check_effects(compose({"preset": preset}))


def test_what_a_users_own_preset_sets_is_told_and_his_workload_is_not(tmp_path: Path) -> None:
    for group in ("preset", "workload"):
        (tmp_path / group).mkdir()
        files = {"preset": "", "workload": "dataset: digits\nmodel: resnet8\nlr: 0.1\n"
               "batch: {initial: 8}\nepochs: 4\n"}[group]  # fmt: skip
        (tmp_path / group / "mine.yaml").write_text(f"{files}noise: {{pairs: 3}}\n")
    check_effects(compose({"workload": "mine"}, str(tmp_path)))
    with pytest.raises(ConfigError, match=r"^noise.pairs=3: has no effect"):
        check_effects(compose({"preset": "mine"}, str(tmp_path)))


def test_the_table_names_keys_that_exist_each_once() -> None:
    keys = [key for need in NEEDS for key in need.keys]
    assert set(keys) <= set(KEYS)
    assert len(set(keys)) == len(keys)
    assert check_effects(make_config({"search.eta": 2})) is None
