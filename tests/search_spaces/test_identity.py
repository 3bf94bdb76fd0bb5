"""What identifies a training: its keys change with it, and with nothing else."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from results.arms.selection import check_workload
from search_spaces.trial import LATER_FIELDS, Recipe, TrialConfig, canonical_json
from tests.fakes.results import make_recipe, make_trial
from tuner.config.compose import compose
from tuner.config.schema import ConfigError
from tuner.plan.plan import make_plan

NOISE = {"noise": {"estimator": "two_batch", "batch_norm": "eval", "pairs": 2, "every": 1}}
CRITICAL = {"critical": {"epsilon": [1.0], "min_epochs": 2}}


def keys(**changes: object) -> tuple[str, str]:
    trial = make_trial("poly", recipe=make_recipe(**changes))
    return trial.config_key, trial.trial_key


def baseline(*words: str) -> TrialConfig:
    plan = make_plan(compose(list(words)))
    assert plan.baseline is not None
    return plan.trial(plan.baseline, plan.baseline.fixed)


def test_what_is_only_measured_is_the_same_training() -> None:
    assert keys(measurements=NOISE) == keys()


def test_a_stopping_rule_makes_another_training() -> None:
    assert keys(measurements=CRITICAL)[1] != keys()[1]


def test_c2_labels_delta_of_a_network_but_is_the_radius_of_a_function() -> None:
    assert baseline("noise.c2=7").trial_key == baseline().trial_key
    ours = baseline("workload=rastrigin")
    theirs = baseline("workload=rastrigin", "noise.c2=4000000")
    assert ours.params["delta0"] == pytest.approx(1.0)
    assert theirs.params["delta0"] == pytest.approx(2.0)
    assert ours.trial_key != theirs.trial_key
    assert ours.config_key != theirs.config_key


def test_records_from_before_the_later_fields_are_the_same_training() -> None:
    trial = make_trial("poly")
    data = trial.to_dict()
    for name in LATER_FIELDS:
        data["recipe"].pop(name, None)
    assert TrialConfig.from_dict(data).trial_key == trial.trial_key
    row = {"run_id": "old", "config_json": canonical_json(data)}
    check_workload([row, {"run_id": "new", "config_json": canonical_json(trial.to_dict())}])


def test_a_run_that_may_stop_early_is_no_match_for_one_that_may_not() -> None:
    rows = [
        {"run_id": name, "config_json": canonical_json(make_trial("poly", recipe=r).to_dict())}
        for name, r in (("a", make_recipe()), ("b", make_recipe(measurements=CRITICAL)))
    ]
    with pytest.raises(ValueError, match="different workloads: measurements"):
        check_workload(rows)


def test_the_stopping_rule_needs_constant_schedules() -> None:
    with pytest.raises(ConfigError, match="lr and batch must be constant"):
        make_plan(compose(["measure=critical", "critical.min_epochs=2"]))


def test_the_rule_must_be_looked_at() -> None:
    with pytest.raises(ConfigError, match=r"critical\.min_epochs=11: must be below epochs=5"):
        make_plan(compose(["preset=p1_critical_cpu", "epochs=5", "critical.min_epochs=11"]))


def test_an_arm_with_its_own_optimizer_has_its_law(tmp_path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("family: poly\np: 1.0\ndelta0: 0.3\ninterval: 1\noptimizer: nshb\n")
    words = [f"space={path}", "optimizer.name=shb", "optimizer.nesterov=false", "baseline=false"]
    plan = make_plan(compose(words))
    trial = plan.trial(plan.spaces[0], plan.spaces[0].fixed)
    assert (trial.recipe.optimizer, trial.recipe.noise_law) == ("nshb", "nshb_b")
    assert trial.recipe.law.delta(trial.lr0, trial.batch0) == pytest.approx(0.3)


@pytest.mark.parametrize(
    "word",
    ["optimizer.momentum=0.5", "optimizer.clip_norm=1", "label_smoothing=0.1", "micro_batch=8"],
)
def test_a_function_refuses_what_it_would_ignore(word: str) -> None:
    with pytest.raises(ConfigError, match="only networks have it"):
        make_plan(compose(["workload=rastrigin", word]))


def test_later_fields_have_the_recipes_defaults() -> None:
    recipe = asdict(replace(make_recipe()))
    assert {name: recipe[name] for name in LATER_FIELDS} == LATER_FIELDS
    assert set(LATER_FIELDS) <= set(Recipe.__dataclass_fields__)
