"""The plan, printed before anything is trained."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.records import EpochRecord
from search_spaces.schedule import Schedule
from search_spaces.trial import TrialConfig
from tests.fakes.trials import SMALL, small_plan
from trainables import TRAINERS
from trainables.loop import NetworkTraining
from trainables.user.report import Report
from tuner.run import main
from tuner.session.dry_run import _time_one_training


def test_a_dry_run_prints_budget_schedules_and_time(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.session.dry_run.num_cpus", lambda: 2)
    words = [*SMALL, "space=[poly,cosine]", "trials=5", "confirm.seeds=2"]
    assert main([*words, "dry_run=true", f"runs_dir={tmp_path / 'runs'}"]) == 0
    out = capsys.readouterr().out
    # 300 images, a fifth of them to validate: 240 a training epoch, 3 epochs.
    assert "search poly: 5 configs x 3 epochs = 3,600 images" in out
    assert "confirm poly, cosine, baseline: 1 config x 2 seeds x 3 epochs each" in out
    assert "in total 16 trainings (10 searched), 11,520 images" in out
    assert "decay rate" in out
    assert re.search(r"^estimated time: .* on this machine, 1 thread each \(", out, re.M)
    assert re.search(r"^estimated cost: .* CPU hours \(search \S+, confirm \S+\)$", out, re.M)
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_tells_what_a_search_shares_and_which_arms_cannot(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [
        *SMALL, "epochs=10", "space=[wsd_linear,poly]", "trials=10", "search.sampler=qmc",
        "spaces.wsd_linear.delta0.value=0.1", "spaces.wsd_linear.interval.value=1",
        "spaces.wsd_linear.f.choices=[0.3,0.5]", "search.share_prefix=true", "baseline=false",
    ]  # fmt: skip
    assert main([*words, "dry_run=true"]) == 0
    out = capsys.readouterr().out
    # Two different configs of ten epochs, the first six (f = 0.5) of them alike.
    assert "shared: about 30 % of the search of wsd_linear (24,000 images) need not" in out
    assert "(as of 2 configs drawn)" in out
    assert "shared: nothing of poly, whose configs begin with a delta0 each of their own" in out


@pytest.mark.slow
def test_a_lone_trial_has_all_threads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.session.dry_run.num_cpus", lambda: 2)
    words = [*SMALL, "space=poly", "trials=1", "confirm.seeds=1", "max_concurrent=1"]
    assert main([*words, "dry_run=true"]) == 0
    assert "with 1 at once on this machine, 2 threads each (" in capsys.readouterr().out


class TwoPaces(NetworkTraining):
    """40 s for its first epoch, as a GPU may need, and 2 s for each later one."""

    def __init__(self, trial: TrialConfig, *, device: str) -> None:
        super().__init__(trial)

    def run_epoch(self) -> EpochRecord:
        seconds = 2.0 if self.records else 40.0
        return replace(super().run_epoch(), seconds=seconds, eval_seconds=0.0)


@pytest.mark.parametrize(
    ("device", "num_timed", "seconds"), [("cuda", 2, 40 + 3 * 2), ("cpu", 1, 4 * 40)]
)
def test_a_first_epoch_on_a_gpu_is_no_pace(
    device: str, num_timed: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRAINERS, "network", TwoPaces)
    plan = small_plan("space=poly", "epochs=4")
    told, num, _ = _time_one_training(plan, device)
    assert (num, told) == (num_timed, pytest.approx(seconds, abs=0.1))


def slow_to_start(schedule: Schedule, seed: int, report: Report) -> None:
    """Half a second, then no time at all."""
    time.sleep(0.5)
    for _ in range(schedule.num_reports):
        report(val_accuracy=0.5, test_accuracy=0.5)


@pytest.mark.full
@pytest.mark.slow
def test_a_start_is_no_pace_and_hours_bound_the_cost(capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"trainable={__name__}:slow_to_start", "dataset.train_examples=4000", "lr=0.1"]
    words += ["batch.initial=2", "epochs=1", "reports=1000", "trials=8", "max_concurrent=1"]
    assert main([*words, "search.hours=0.001", "dry_run=true"]) == 0
    out = capsys.readouterr().out
    (seconds,) = re.findall(r"\((\d+) s a training, from two timed reports\)", out)
    # 0.5 s, and 1,000 short reports; from the first alone it would be 500 s.
    assert int(seconds) < 60
    assert "search 0.001 = search.hours, confirm 0." in out
