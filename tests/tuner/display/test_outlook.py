"""What is left: by wall time, with the ends of a training told apart, within the hours."""

from __future__ import annotations

import pytest

from results.statistics.cost import Devices
from search_spaces.trial import TrialConfig
from tests.fakes.trials import small_trial
from tuner.display.outlook import Bound, Outlook

TRAINING = 720


def trial(replicate: int = 0, role: str = "search") -> TrialConfig:
    return small_trial(space="poly", replicate=replicate, role=role)


def test_many_short_reports_last_as_long_as_they_do_by_the_clock() -> None:
    # 2,000 reports of 8 ms each, the first a second late.
    outlook = Outlook(1, 2000)
    one = trial()
    outlook.report(one, 1, 1, 1.0)
    for number in (2, 3):
        outlook.report(one, number, number, 0.008)
    # 1,997 more take 16 s; what another start would take is spread over all.
    assert outlook.seconds_left() == pytest.approx(1997 * 0.008 + 0.992 * 1997 / 2000)


def test_starts_and_ends_count_once_a_training() -> None:
    outlook = Outlook(4, 4 * TRAINING)
    one = trial()
    for number, seconds in ((1, 5.0), (2, 2.0), (3, 2.0)):
        outlook.report(one, number, 240 * number, seconds)
    outlook.end(one, 10.0)
    assert outlook.spent == {"search": 10.0}
    # Each of three more: 3 s to begin, 3 epochs of 2 s, 1 s to end.
    assert outlook.seconds_left() == pytest.approx(3 * 10.0)


def test_hours_end_a_part_before_its_samples() -> None:
    search = {"search": Bound(samples=4 * TRAINING, seconds=50.0)}
    outlook = Outlook(6, 6 * TRAINING, bounds=search, devices=Devices(count=72, kind="GPU"))
    outlook.report(trial(), 1, TRAINING, 40.0)
    # 10 s are left of the search (of 120), and two confirm trainings of 40 s.
    assert outlook.seconds_left() == pytest.approx(10.0 + 80.0)
    assert outlook.cost_words() == "0.8 of about 2.6 GPU hours"  # 40 s and 130 s on 72


def test_a_report_told_again_and_a_state_taken_from_another_cost_nothing() -> None:
    outlook = Outlook(2, 2 * TRAINING)
    for number in (1, 1, 2):
        outlook.report(trial(), number, 240 * number, 2.0)
    outlook.report(trial(1), 1, 240, 0.0)
    assert outlook.spent == {"search": 4.0}
    assert outlook.seconds_left() == pytest.approx(2.0 * 3)
