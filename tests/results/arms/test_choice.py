"""What stands for an arm: its rows, its point, its config."""

from __future__ import annotations

import pytest

from results.arms.choice import point_of
from search_spaces.space import SearchSpace
from search_spaces.trial import canonical_json
from tests.fakes.results import make_trial


def row_of(space: str, **params: float) -> dict[str, object]:
    data = make_trial("poly").to_dict()
    return {"space": space, "config_json": canonical_json(data | {"params": params})}


@pytest.mark.parametrize(
    ("space", "point"),
    [
        ("poly", {}),
        ("lr batch0=8,lr0=0.1", {"batch0": 8, "lr0": 0.1}),
        ("lr lr0=0.3333", {"lr0": 1 / 3}),  # recorded, not read from the rounded name
        ("lr lr0=1e-05", {"lr0": 1e-5}),
    ],
)
def test_an_arm_carries_its_point(space, point):
    assert point_of(row_of(space, interval=1, split=1, **point)) == point


def test_the_points_of_a_space_are_read_back():
    space = SearchSpace.from_dict(
        {
            "name": "grid",
            "family": "constant",
            "ranges": {
                "interval": {"value": 1},
                "split": {"value": 1},
                "delta0": {"choices": [0.1, 1 / 3]},
            },
        }
    )
    for arm in space.points():
        assert point_of(row_of(arm.name, **arm.fixed)) == {"delta0": arm.fixed["delta0"]}
