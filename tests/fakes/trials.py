"""Small real trainings on digits, for tests of the loop, the trainable and the whole command."""

from __future__ import annotations

from search_spaces import SPACES
from search_spaces.trial import TrialConfig
from tuner.config.compose import compose
from tuner.plan.plan import Plan, make_plan
from tuner.session.cluster import settle

SMALL = ("workload=digits", "model.width=4", "dataset.train_examples=300", "epochs=3")

# Columns of an epoch that a clock decides.
TIMES = ("seconds", "eval_seconds", "images_per_second", "wall_seconds")


def small_plan(*words: str) -> Plan:
    """A plan on 300 digits, 3 epochs, a ResNet-8 of width 4."""
    return settle(make_plan(compose([*SMALL, *words])), "cpu")


def small_trial(*words: str, space: str = "hybrid", **kwargs: object) -> TrialConfig:
    """A trial in the middle of a space's ranges; hybrid changes lr and batch every epoch."""
    plan = small_plan(f"space={space}", *words)
    ranges = plan.spaces[0].ranges
    params = {name: axis.from_unit(0.5) for name, axis in ranges.items()} | {"interval": 1}
    assert set(params) == set(SPACES[space].ranges)
    return plan.trial(plan.spaces[0], params, **kwargs)
