"""Device-hours: their unit, and how they are told."""

from __future__ import annotations

import pytest

from results.statistics.cost import Devices, devices_of, hours_text, seconds_of


@pytest.mark.parametrize(
    ("slots", "count", "kind"),
    [
        ({"cpus_per_trial": 4.0, "gpus_per_trial": 1.0, "max_concurrent": 2}, 1.0, "GPU"),
        ({"cpus_per_trial": 1.0, "gpus_per_trial": 0.25, "max_concurrent": 4}, 0.25, "GPU"),
        ({"cpus_per_trial": 2.0, "gpus_per_trial": 0.0, "max_concurrent": 1}, 2.0, "CPU"),
        ({}, 1.0, "CPU"),  # a record from before there were slots
    ],
)
def test_a_training_costs_the_gpus_it_holds_or_else_the_cpus(
    slots: dict[str, float], count: float, kind: str
) -> None:
    devices = devices_of(slots)
    assert devices == Devices(count=count, kind=kind)
    assert devices.hours(1800) == 0.5 * count
    assert devices.text(1800).endswith(f" {kind} hours")


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (0.0, "0"),
        (1e-9, "<0.001"),
        (0.001, "0.001"),
        (0.6, "0.6"),
        (9.96, "10"),
        (12345, "12,345"),
    ],
)
def test_hours_are_told_with_two_digits(hours: float, text: str) -> None:
    assert hours_text(hours) == text


def test_records_from_before_there_was_wall_time_count_what_they_trained() -> None:
    assert seconds_of({"wall_seconds": 7.0, "train_seconds": 5.0}) == 7.0
    assert seconds_of({"wall_seconds": None, "train_seconds": 5.0}) == 5.0
    assert seconds_of({"wall_seconds": None, "train_seconds": None}) == 0.0
