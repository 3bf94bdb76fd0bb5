"""A run's name, before there is a run."""

from __future__ import annotations

import re

import pytest

from tuner.config.compose import compose
from tuner.plan.plan import make_plan
from tuner.session.execution import run_id


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("space=[poly,exp]", "poly-exp"),
        # Its 16 arms are named by lr and batch: 30 characters of them, cut anywhere.
        ("preset=p1_sharpness_cpu", "p1_sharpness_cpu"),
        ("preset=p1_methods_cpu", "p1_methods_cpu"),
    ],
)
def test_a_run_is_named_by_its_preset_or_else_its_arms(word: str, name: str) -> None:
    made = run_id(make_plan(compose([word])))
    assert re.fullmatch(rf"\d{{8}}T\d{{6}}Z-{name}-[0-9a-f]{{4}}", made)
