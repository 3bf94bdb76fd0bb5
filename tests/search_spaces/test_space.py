"""Which values does a range allow, and how do a user's fields change it?"""

from __future__ import annotations

import pytest

from search_spaces.space import Range

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
        (WHOLE, {"high": float("inf")}, "whole numbers only"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(
    default: Range, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        default.replaced(fields)
