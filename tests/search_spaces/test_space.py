"""Which values does a range allow, how do a user's fields change it, and what is a space?"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from search_spaces import SPACES
from search_spaces.space import Range, SearchSpace, param_text, read_interval, tidy_interval

LOG = Range(low=0.1, high=4.0, log=True)
WHOLE = Range(low=1, high=9, integer=True)


@pytest.mark.parametrize(
    ("default", "fields", "expected"),
    [
        (LOG, {}, LOG),
        (LOG, {"low": None, "value": None}, LOG),
        (LOG, {"high": 2.0}, Range(low=0.1, high=2.0, log=True)),
        (LOG, {"step": 0.1}, Range(low=0.1, high=4.0, step=0.1)),
        (LOG, {"value": 7.0}, Range(value=7.0)),
        (LOG, {"choices": [1.0, 2.0]}, Range(choices=(1.0, 2.0))),
        (WHOLE, {"value": 3.0}, Range(value=3.0, integer=True)),
        (WHOLE, {"low": 2}, Range(low=2, high=9, integer=True)),
        (WHOLE, {"choices": (1, 4)}, Range(choices=(1, 4), integer=True)),
        # What has one value, or is told relative to the run, has no bounds to keep.
        (Range(value=1.0), {"low": 0.0, "high": 1.0}, Range(low=0.0, high=1.0)),
        (
            Range(low=0.0, high=0.5, log=True, integer=True, relative=True),
            {"low": 2, "high": 6},
            Range(low=2, high=6, integer=True),
        ),
    ],
)
def test_fields_replace_those_of_a_range(
    default: Range, fields: dict[str, object], expected: Range
) -> None:
    assert default.replaced(fields) == expected


@pytest.mark.parametrize(
    ("default", "fields", "message"),
    [
        (LOG, {"value": 1.0, "low": 0.5}, "value excludes the others, but got value, low"),
        (LOG, {"choices": [1.0], "step": 1.0}, "choices excludes the others"),
        (LOG, {"step": 0.1, "log": True}, "`step > 0` and log=false must hold"),
        (LOG, {"low": 5.0}, "`low < high` must hold"),
        (Range(value=1.0), {"low": 0.5}, "one of low and high, choices, or value"),
        *[
            (WHOLE, {name: value}, "whole numbers only")
            for name, value in {"low": 1.5, "high": 8.5, "step": 0.5, "value": 0.5}.items()
        ],
        (WHOLE, {"choices": [1, 2.5]}, "whole numbers only"),
        (WHOLE, {"high": float("inf")}, r"^whole numbers only\.$"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(
    default: Range, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        default.replaced(fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "one of low and high, choices, or value must be given"),
        ({"low": 1.0}, "one of low and high, choices, or value must be given"),
        ({"high": 1.0}, "one of low and high, choices, or value must be given"),
        ({"low": 2.0, "high": 1.0}, r"`low < high` must hold, but got \(low=2\.0, high=1\.0\)"),
        ({"low": 1.0, "high": 1.0}, "`low < high` must hold"),
        ({"low": 2, "high": 1, "integer": True}, "`low < high` must hold"),
        ({"low": 0.0, "high": 1.0, "log": True}, r"`low > 0` must hold for log=true"),
        ({"low": 0.0, "high": 1.0, "step": 0.0}, "`step > 0` and log=false must hold"),
        ({"low": 0.1, "high": 1.0, "step": 0.1, "log": True}, "`step > 0` and log=false"),
        ({"choices": ()}, r"`choices` must hold at least one value, but got \[\]"),
        ({"choices": (1.0, 2.0, 1.0)}, r"`choices` must differ, but got \[1\.0, 2\.0, 1\.0\]"),
        *[
            ({"low": 0.0, "high": 1.0} | {name: math.inf}, "bounds must be finite, but got inf")
            for name in ("low", "high", "step", "value")
        ],
        ({"choices": (1.0, math.nan)}, "bounds must be finite, but got nan"),
    ],
)
def test_a_range_that_is_none_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Range(**fields)


@pytest.mark.parametrize(
    ("axis", "value"),
    [
        (Range(value=0.0), 0.0),
        (Range(choices=(0.5,)), 0.5),
        (Range(low=3, high=3, integer=True), 3),
        (Range(value=2.6, integer=True), 3),
        (Range(low=0.0, high=1.0), None),
        (Range(choices=(0.5, 0.6)), None),
    ],
)
def test_a_range_of_one_value_is_fixed(axis: Range, value: float | None) -> None:
    assert axis.is_fixed == (value is not None)
    if axis.is_fixed:
        assert axis.fixed_value == value
        assert axis.from_unit(0.9) == value
        assert axis.grid() == (value,)
        assert not axis.is_on_edge(axis.fixed_value)


@pytest.mark.parametrize(
    ("axis", "expected"),  # at u = 0, 1/4, 1/2 and just below 1
    [
        (Range(low=1.0, high=3.0), [1.0, 1.5, 2.0, 3.0]),
        (Range(low=1.0, high=16.0, log=True), [1.0, 2.0, 4.0, 16.0]),
        (Range(choices=(5.0, 1.0, 3.0, 2.0)), [5.0, 1.0, 3.0, 2.0]),
        (Range(low=0.0, high=0.3, step=0.1), [0.0, 0.1, 0.2, 0.3]),
        (Range(low=0.0, high=0.35, step=0.1), [0.0, 0.1, 0.2, 0.3]),
        (Range(low=1, high=4, integer=True), [1, 2, 3, 4]),
        # From 1/2 to 8.5 by ratio 17: 0.5, 1.02, 2.06, 8.5, rounded and kept in bounds.
        (Range(low=1, high=8, log=True, integer=True), [1, 1, 2, 8]),
    ],
)
def test_values_at_the_quantiles_of_a_range(axis: Range, expected: list[float]) -> None:
    values = [axis.from_unit(u) for u in (0.0, 0.25, 0.5, 1.0 - 1e-15)]
    assert values == pytest.approx(expected, rel=1e-12)
    assert {type(value) for value in values} == {int if axis.integer else float}


@pytest.mark.parametrize("whole", range(1, 8))
def test_whole_numbers_on_a_log_scale_get_their_share_of_it(whole: int) -> None:
    """From 1/2 to 8.5: u = ln((n + 1/2)/(1/2))/ln 17 parts n from n + 1."""
    axis, border = Range(low=1, high=8, log=True, integer=True), math.log(2 * whole + 1, 17)
    assert axis.from_unit(border - 1e-9) == whole
    assert axis.from_unit(border + 1e-9) == whole + 1


@pytest.mark.parametrize("axis", [Range(choices=(1.0, 2.0)), Range(low=1, high=2, integer=True)])
def test_a_quantile_of_one_is_the_last_value(axis: Range) -> None:
    assert axis.from_unit(1.0) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (Range(low=0.1, high=0.5, step=0.1), (0.1, 0.2, 0.3, 0.4, 0.5)),
        (Range(low=0.0, high=0.99, step=0.5), (0.0, 0.5)),
        (Range(low=2, high=5, integer=True), (2, 3, 4, 5)),
        (Range(low=2, high=9, step=3, integer=True), (2, 5, 8)),
        (Range(choices=(3, 1), integer=True), (3, 1)),
    ],
)
def test_the_grid_of_a_range_holds_every_value(axis: Range, expected: tuple[float, ...]) -> None:
    assert axis.grid() == expected


def test_a_continuous_range_has_no_grid() -> None:
    with pytest.raises(ValueError, match="needs `choices`, `step` or `value`, but got a cont"):
        Range(low=0.0, high=1.0).grid()


@pytest.mark.parametrize(
    ("axis", "inside", "outside"),
    [
        (Range(low=100.0, high=200.0), (102.001, 197.999), (100.0, 102.0, 198.0, 200.0)),
        (Range(low=10.0, high=1e11, log=True), (16.0, 6e10), (10.0, 15.8, 6.4e10)),
    ],
)
def test_the_outer_fiftieth_of_a_range_is_its_edge(
    axis: Range, inside: tuple[float, ...], outside: tuple[float, ...]
) -> None:
    assert not any(map(axis.is_on_edge, inside))
    assert all(map(axis.is_on_edge, outside))
    assert axis.is_on_edge(inside[0], tolerance=0.1)


def test_choices_have_no_edge() -> None:
    assert not Range(choices=(1.0, 2.0)).is_on_edge(1.0)


SPACE = SearchSpace(
    name="mine",
    family="poly",
    ranges={
        "split": Range(value=1.0),
        "p": Range(choices=(0.5, 1.0)),
        "interval": Range(choices=(1, 2, 5), integer=True),
    },
    optimizer="shb",
)


def test_free_and_fixed_parameters_stand_in_alphabetical_order() -> None:
    assert list(SPACE.free) == ["interval", "p"]
    assert SPACE.fixed == {"split": 1.0}


def test_the_grid_of_a_space_changes_the_last_parameter_fastest() -> None:
    grid = [(point["interval"], point["p"]) for point in SPACE.grid()]
    assert grid == [(1, 0.5), (1, 1.0), (2, 0.5), (2, 1.0), (5, 0.5), (5, 1.0)]


def test_a_space_without_a_grid_names_the_parameter() -> None:
    space = SearchSpace(name="mine", family="poly", ranges={"p": Range(low=0.1, high=1.0)})
    with pytest.raises(ValueError, match=r"^spaces\.mine\.p: a grid needs"):
        space.grid()


def test_points_are_arms_with_one_config_each() -> None:
    arms = SPACE.points()
    assert [arm.name for arm in arms[:2]] == ["mine interval=1,p=0.5", "mine interval=1,p=1"]
    assert len(arms) == 6
    assert arms[1].fixed == {"split": 1.0, "interval": 1, "p": 1.0}
    assert isinstance(arms[1].fixed["interval"], int)
    assert not arms[1].free
    assert {(arm.family, arm.optimizer) for arm in arms} == {("poly", "shb")}


def test_points_that_four_digits_do_not_tell_apart_are_told_in_all() -> None:
    close = Range(choices=(0.12341, 0.12342))
    names = [
        arm.name for arm in SearchSpace(name="a", family="poly", ranges={"p": close}).points()
    ]
    assert names == ["a p=0.12341", "a p=0.12342"]
    tiny = Range(choices=(1e-5, 2e-5))
    names = [arm.name for arm in SearchSpace(name="a", family="exp", ranges={"p": tiny}).points()]
    assert names == ["a p=1e-05", "a p=2e-05"]


def test_the_point_of_a_fixed_space_is_the_space() -> None:
    space = SearchSpace(name="mine", family="poly", ranges={"p": Range(value=1.0)})
    assert space.points() == [space]


def test_relative_ranges_become_multiples_of_what_they_refer_to() -> None:
    space = SearchSpace(
        name="mine",
        family="poly",
        ranges={
            "interval": Range(low=0.0, high=0.5, log=True, integer=True, relative=True),
            "delta0": Range(low=0.1, high=10.0, log=True, relative=True),
            "lr0": Range(value=2.0, relative=True),
            "batch0": Range(choices=(0.25, 0.3, 4.0), integer=True, relative=True),
            "p": Range(low=0.1, high=4.0),
        },
    )
    known = space.resolve(epochs=15, delta_ref=0.3, lr_ref=0.05, batch_ref=32).ranges
    assert known == {
        "interval": Range(low=1, high=8, log=True, integer=True),  # at least 1; 7.5 to even
        "delta0": Range(low=0.1 * 0.3, high=3.0, log=True),
        "lr0": Range(value=0.1),
        "batch0": Range(choices=(8, 10, 128), integer=True),
        "p": Range(low=0.1, high=4.0),
    }


def test_references_of_lr_and_batch_are_one_unless_given() -> None:
    ranges = {
        "lr0": Range(value=2.0, relative=True),
        "batch0": Range(value=3.0, integer=True, relative=True),
    }
    space = SearchSpace(name="mine", family="poly", ranges=ranges)
    known = space.resolve(epochs=1, delta_ref=1.0).ranges
    assert (known["lr0"], known["batch0"]) == (Range(value=2.0), Range(value=3, integer=True))


def test_a_space_survives_json() -> None:
    ranges = {
        "p": Range(low=0.0, high=4.0, step=0.5),
        "interval": Range(low=0.0, high=0.5, log=True, integer=True, relative=True),
        "split": Range(choices=(0.0, 1.0)),
        "delta0": Range(value=0.0),
    }
    space = SearchSpace(name="mine", family="a.b:c", ranges=ranges, optimizer="shb")
    plain = space.to_dict()
    assert plain == {
        "name": "mine",
        "family": "a.b:c",
        "optimizer": "shb",
        "ranges": {
            "p": {"low": 0.0, "high": 4.0, "step": 0.5},
            "interval": {"low": 0.0, "high": 0.5, "log": True, "integer": True, "relative": True},
            "split": {"choices": [0.0, 1.0]},
            "delta0": {"value": 0.0},
        },
    }
    assert SearchSpace.from_dict(json.loads(json.dumps(plain))) == space
    assert "training" not in plain
    handed = replace(space, training=("beta2",))
    assert SearchSpace.from_dict(json.loads(json.dumps(handed.to_dict()))) == handed
    plain = SearchSpace(name="mine", family="poly", ranges={}).to_dict()
    assert plain == {"name": "mine", "family": "poly", "ranges": {}}
    assert SearchSpace.from_dict(plain).optimizer is None


@pytest.mark.parametrize(
    ("space", "epochs", "expected"),
    [
        ("poly", 1, {"value": 0}),  # every step
        ("poly", 2, {"low": 1, "high": 1}),  # half of it
        ("step", 1, {"low": 0.05, "high": 0.5}),  # stages keep their share of the training
        ("lr", 1, {"value": 0.2}),
        ("lr", 2, {"value": 1}),
        ("constant", 1, {"value": 1}),  # one stage by its meaning
    ],
)
def test_one_epoch_is_decayed_by_steps(
    space: str, epochs: int, expected: dict[str, float]
) -> None:
    axis = SPACES[space].resolve(epochs=epochs, delta_ref=1.0).ranges["interval"]
    assert {name: getattr(axis, name) for name in expected} == expected


def test_an_interval_may_be_given_in_fractions_and_stays_whole_where_it_is() -> None:
    whole = Range(low=1, high=8, log=True, integer=True)
    half = whole.replaced({"low": 0.5}, "interval")
    assert (half.low, half.high, half.integer) == (0.5, 8, False)
    assert whole.replaced({"low": 2}, "interval").integer
    assert whole.replaced({"choices": [0, 1, 2]}, "interval").grid() == (0, 1, 2)
    with pytest.raises(ValueError, match="whole numbers only"):
        whole.replaced({"low": 1.5}, "batch0")


def test_the_word_step_is_an_interval_of_nothing() -> None:
    assert read_interval("step") == 0
    assert read_interval(["step", "0.5", 2]) == [0, "0.5", 2]
    assert param_text("interval", 0) == "step"
    assert param_text("interval", 0.25) == "0.25"
    assert param_text("warmup", 0) == "0"
    assert [repr(tidy_interval(x)) for x in (2.0, 1, 0.5, 0.0)] == ["2", "1", "0.5", "0"]
