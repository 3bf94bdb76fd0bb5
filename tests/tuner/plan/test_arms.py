"""The arms of a plan: what of a space's ranges can be trained is known before anything starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from search_spaces import FAMILIES
from search_spaces.space import Range
from tests.conftest import ROOT
from tuner.config.compose import compose
from tuner.config.schema import ConfigError
from tuner.plan.plan import make_plan


def test_an_arm_is_checked_by_the_noise_law_of_its_own_optimizer(tmp_path: Path) -> None:
    # Under law shb part of delta does not depend on the batch (beta_hat K^2): a decay by the
    # batch alone would have to change lr as well, which every trial of the arm refuses.
    text = "family: exp\noptimizer: shb\nsplit: 0\ninterval: 2\nend_ratio: 0.1\n"
    (tmp_path / "mine.yaml").write_text(text)
    words = [f"space={tmp_path / 'mine.yaml'}", "optimizer.nesterov=false", "noise.k=5"]
    with pytest.raises(ConfigError, match=r"^spaces\.mine: .*split") as caught:
        make_plan(compose([*words, "noise.c2=1"]))
    assert "\n" not in str(caught.value)


def baseline_of(*words: str) -> tuple[str, dict[str, float], list[float]]:
    """Name, curve's parameters and lr over lr0 of the baseline: 15 epochs of the digits."""
    plan = make_plan(compose(list(words)))
    assert plan.baseline is not None
    trial = plan.trial(plan.baseline, plan.baseline.fixed, role="confirm")
    assert trial.lr0 == 0.1
    return plan.baseline.name, trial.curve_params, (trial.schedule.lr_S / 0.1).tolist()


U = np.arange(15) / 15


@pytest.mark.parametrize("family", FAMILIES)
def test_any_family_with_its_parameters_is_a_baseline(family: str) -> None:
    params = {key: axis.from_unit(0.5) for key, axis in FAMILIES[family].ranges.items()}
    words = [f"recipe.{key}={value!r}" for key, value in params.items()]
    name, curve_params, d = baseline_of(f"recipe.family={family}", *words)
    assert (name, curve_params) == ("baseline", params)
    np.testing.assert_allclose(d, FAMILIES[family](U, **params), rtol=1e-12)


def test_a_baseline_may_end_above_zero_have_a_name_and_a_curve_of_ones_own() -> None:
    name, _, d = baseline_of("recipe.end=0.1", "baseline.name='cosine to 10 %'")
    assert name == "baseline:cosine to 10 %"
    np.testing.assert_allclose(d, 0.1 + 0.9 * (1 + np.cos(np.pi * U)) / 2, rtol=1e-12)
    assert baseline_of("recipe.family=poly")[1] == {"p": 1.0}  # linear where nothing is said
    knee = f"recipe.family={ROOT / 'tests' / 'fakes' / 'knee.py'}:curve"
    _, curve_params, d = baseline_of(knee, "recipe.knee=0.2")
    assert curve_params == {"knee": 0.2}
    np.testing.assert_allclose(d, np.minimum(1, (1 - U) / 0.8), rtol=1e-12)
    with pytest.raises(ConfigError, match=r"^recipe: .*missing.*'knee'"):
        make_plan(compose([knee]))


def test_a_tuned_baseline_is_an_arm_whose_delta0_and_open_parameters_are_searched() -> None:
    words = ["space=[poly,cosine]", "baseline=tuned", "recipe.family=wsd", "recipe.p=1"]
    plan = make_plan(compose([*words, "recipe.end=0.1", "baseline.name=mine"]))
    assert plan.baseline is None
    *_, tuned = plan.spaces
    assert tuned.name == "baseline_tuned:mine"
    poly = plan.spaces[0]
    f = FAMILIES["wsd"].parameters["f"].range
    assert tuned.free == {"delta0": poly.ranges["delta0"], "f": f}
    assert tuned.fixed == {"end": 0.1, "interval": 1, "p": 1.0, "split": 1.0}
    assert {plan.quota(space) for space in plan.spaces} == {16}
    # Of a poly nothing was said: its default power is searched too.
    *_, tuned = make_plan(compose(["baseline=tuned", "recipe.family=poly"])).spaces
    assert set(tuned.free) == {"delta0", "p"}
    # A curve that is a `Family` tells its parameters.
    family = "recipe.family=search_spaces.families.poly:FAMILY"
    *_, tuned = make_plan(compose(["baseline=tuned", family])).spaces
    assert tuned.ranges["p"] == Range(low=0.1, high=4.0, log=True)


@pytest.mark.parametrize(
    ("body", "says"),
    [("1 / 0", "ZeroDivisionError: division by zero"), ("'abc'", "ValueError: could not convert")],
)
def test_a_curve_that_fails_is_one_line(tmp_path: Path, body: str, says: str) -> None:
    (tmp_path / "mine.py").write_text(f"def curve(u):\n    return {body}\n")
    with pytest.raises(ConfigError, match=rf"mine\.py:curve: {says}"):
        make_plan(compose([f"recipe.family={tmp_path / 'mine.py'}:curve"]))


def test_parameters_of_a_workloads_curve_go_with_it(tmp_path: Path) -> None:
    workload = "dataset: digits\nmodel: resnet8\nlr: 0.1\nbatch: {initial: 8}\nepochs: 15\n"
    (tmp_path / "workload").mkdir()
    path = tmp_path / "workload" / "mine.yaml"
    path.write_text(f"{workload}recipe: {{family: wsd, f: 0.4, p: 2, end: 0.1}}\n")
    config = compose(["workload=mine", "recipe.f=0.2"], str(tmp_path))
    assert config.recipe.params == {"f": 0.2, "p": 2.0}
    assert compose(["workload=mine", "recipe.family=exp"], str(tmp_path)).recipe.params == {}
    path.write_text(f"{workload}recipe: {{family: wsd, ff: 0.4}}\n")
    with pytest.raises(ConfigError, match=r"^unknown key 'recipe\.ff'; did you mean 'recipe\.f'"):
        compose(["workload=mine"], str(tmp_path))


def test_the_end_may_be_searched_in_any_space() -> None:
    words = ["space=[poly,exp,step]", "spaces.poly.end.low=0", "spaces.poly.end.high=0.2"]
    words += ["spaces.exp.end.value=0.1", "spaces.step.end.choices=[0,0.1]"]
    poly, exp, step = make_plan(compose(words)).spaces
    assert poly.free["end"] == Range(low=0.0, high=0.2)
    assert exp.fixed["end"] == 0.1
    assert step.free["end"].choices == (0.0, 0.1)


def test_a_space_file_may_have_an_end(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("family: cosine\nend: {low: 0.0, high: 0.3}\n")
    (space,) = make_plan(compose([f"space={tmp_path / 'mine.yaml'}"])).spaces
    assert space.free["end"] == Range(low=0.0, high=0.3)


def test_a_grid_point_that_never_decays_is_refused_before_anything_starts() -> None:
    words = ["space=wsd", "search.sampler=grid", "spaces.wsd.p.value=1"]
    words += ["spaces.wsd.delta0.value=0.1", "spaces.wsd.f.choices=[0.1,0.5]"]
    make_plan(compose([*words, "spaces.wsd.interval.value=1"]))
    with pytest.raises(ConfigError, match=r"^spaces\.wsd: with f=0\.1, interval=3 of 15 epochs"):
        make_plan(compose([*words, "spaces.wsd.interval.choices=[1,3]"]))
