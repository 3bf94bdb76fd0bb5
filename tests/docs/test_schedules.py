"""Does docs/schedules.md say what the schedules do? Its sentences, by their formulas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search_spaces.schedule import Schedule
from tests.docs.text import blocks
from tuner.config.compose import compose
from tuner.plan.plan import Plan, make_plan

U = np.arange(15) / 15  # epochs of the digits


def planned(*words: str) -> Plan:
    return make_plan(compose(list(words)))


def schedule(plan: Plan, number: int = 0, **params: float) -> Schedule:
    """Of the arm of this number at lr 0.1, every epoch."""
    space = plan.spaces[number]
    known = {"delta0": plan.delta_ref, "interval": 1, **params}
    return plan.trial(space, space.fixed | known).schedule


def test_a_file_with_a_cooldown_of_ones_own_is_a_space(tmp_path: Path) -> None:
    (text,) = [b.text for b in blocks() if "cooldown(FAMILIES" in b.text]
    (tmp_path / "exp_tail.py").write_text(text)
    plan = planned(f"space={tmp_path / 'exp_tail.py'}")
    lr_S = schedule(plan, f=0.5, end_ratio=0.01).lr_S
    np.testing.assert_allclose(lr_S, 0.1 * 0.01 ** np.maximum(0, 2 * U - 1), rtol=1e-12)


@pytest.mark.parametrize(
    ("words", "d"),
    [
        (("space=cosine", "spaces.cosine.end.value=0.1"), 0.1 + 0.45 * (1 + np.cos(np.pi * U))),
        (("space=linear",), 1 - U),
        (("space=power_cool", "spaces.power_cool.q.value=3"), 1 - U**3),
    ],
)
def test_the_curves_are_those_of_the_page(words: tuple[str, ...], d: np.ndarray) -> None:
    np.testing.assert_allclose(schedule(planned(*words)).lr_S, 0.1 * d, rtol=1e-12)


def test_seesaw_keeps_what_the_page_says() -> None:
    # A first batch of 2^14 of very many samples: no rounding that could be seen.
    plan = planned("space=[cosine,seesaw]")
    recipe = replace(plan.recipe, train_examples=10**9, batch0=2**14, batch_max=None)
    plan = replace(plan, recipe=recipe, delta_ref=recipe.law.delta(0.1, 2**14))
    cosine, seesaw = (schedule(plan, number) for number in (0, 1))
    d = (1 + np.cos(np.pi * U)) / 2
    np.testing.assert_allclose(cosine.lr_S, 0.1 * d, rtol=1e-12)
    np.testing.assert_allclose(seesaw.delta_S, cosine.delta_S, rtol=1e-12)
    np.testing.assert_allclose(seesaw.lr_S, 0.1 * np.sqrt(d), rtol=1e-4)
    np.testing.assert_allclose(seesaw.batch_size_S, 2**14 / d, rtol=1e-4)
    step = seesaw.lr_S * np.sqrt(seesaw.batch_size_S)
    np.testing.assert_allclose(step, 0.1 * 2**7, rtol=1e-4)  # what a normalised step scales with
    linear_rule = seesaw.lr_S / seesaw.batch_size_S
    np.testing.assert_allclose(linear_rule / linear_rule[0], d**1.5, rtol=1e-4)
    # Stages are read at their start, where the mean of the cosine is 1/2 + 1/30.
    assert seesaw.num_steps() / cosine.num_steps() == pytest.approx(0.5 + 1 / 30, abs=1e-4)
