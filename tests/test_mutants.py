"""The count of `make mutants`."""

from __future__ import annotations

from tests.mutants import count

RESULTS = """
    search_spaces.schedule.x_decay__mutmut_1: killed
    search_spaces.schedule.x_decay__mutmut_2: survived
    search_spaces.schedule.x_decay__mutmut_3: survived
    search_spaces.schedule.x\u01c1Schedule\u01c1epoch_end__mutmut_1: timeout
    tuner.campaign.arm.x_ask__mutmut_1: no tests
    tuner.campaign.arm.x_ask__mutmut_2: not checked
"""


def test_mutants_are_counted_by_module() -> None:
    counts = count(RESULTS.splitlines())
    assert {module: dict(number) for module, number in counts.items()} == {
        "search_spaces.schedule": {"killed": 2, "survived": 2},
        "tuner.campaign.arm": {"survived": 1},
    }
