"""What a person sees while a run goes on: lines and tables."""

from __future__ import annotations

import dataclasses
import io
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from search_spaces.records import EpochRecord, Outcome
from search_spaces.trial import TrialConfig
from tests.fakes.trials import small_trial
from tuner.display.live import (
    Display,
    NotebookDisplay,
    PlainDisplay,
    RichDisplay,
    make_display,
)

PLANNED = {"poly": 4, "baseline": 2}
TRAINING = 3 * 240  # samples of a full training of small_trial
SAMPLES = 6 * TRAINING


def epoch(number: int, seconds: float = 2.0) -> EpochRecord:
    return EpochRecord(
        epoch=number,
        stage=0,
        lr=0.1,
        batch_size=32,
        batch_capped=False,
        momentum=0.9,
        delta=0.2,
        decay_rate=1.0,
        num_steps=8,
        samples_seen=240 * number,
        train_loss=1.0,
        train_accuracy=0.5,
        val_loss=1.0,
        val_accuracy=0.75,
        seconds=seconds,
        eval_seconds=0.0,
        images_per_second=120.0,
    )


def outcome(objective: float) -> Outcome:
    return Outcome(
        status="completed",
        objective=objective,
        best_val_accuracy=objective,
        val_loss=1.0,
        final_train_loss=1.0,
        final_train_accuracy=0.5,
        test_loss=None,
        test_accuracy=None,
        test_correct=None,
        samples_seen=TRAINING,
        optimizer_steps=24,
        train_seconds=6.0,
        num_params=1,
        peak_memory_bytes=1,
        device="cpu",
    )


def poly(replicate: int = 0, role: str = "search") -> TrialConfig:
    return small_trial(space="poly", replicate=replicate, role=role)


def finish(display: Display, trial: TrialConfig, objective: float) -> None:
    display.trial_started(trial)
    for number in (1, 2, 3):
        display.epoch_ended(trial, epoch(number))
    display.trial_ended(trial, "completed", outcome(objective), None)


def test_time_left_is_the_samples_left_over_the_pace_of_the_trials_so_far() -> None:
    display = Display(PLANNED, SAMPLES)
    assert display.seconds_left() is None
    trial = poly()
    display.trial_started(trial)
    display.epoch_ended(trial, epoch(1, seconds=2.0))
    # 6 trainings of 3 epochs, 1 epoch done in 2 s, one at once: 17 epochs of 2 s left.
    assert display.seconds_left() == pytest.approx(34.0)
    display.trial_started(poly(1))
    assert display.seconds_left() == pytest.approx(17.0)


def test_epochs_told_again_after_a_restart_are_counted_once() -> None:
    display = Display(PLANNED, SAMPLES)
    trial = poly()
    for number in (1, 2):
        display.trial_started(trial)
        for done in range(1, number + 1):
            display.epoch_ended(trial, epoch(done))
    # Epochs 1, 1 again, 2: two of 18 are done, 2 s each.
    assert display.seconds_left() == pytest.approx(32.0)


def test_the_best_comes_from_the_longest_trainings() -> None:
    display = Display(PLANNED, SAMPLES)
    finish(display, poly(0), 0.7)
    finish(display, replace(poly(1), horizon=1 / 3), 0.9)
    assert (display.arms["poly"].best, display.arms["poly"].best_horizon) == (0.7, 1.0)


def test_the_best_of_an_arm_is_the_best_of_its_search() -> None:
    display = Display(PLANNED, SAMPLES)
    finish(display, poly(0), 0.8)
    finish(display, poly(1, role="confirm"), 0.9)
    finish(display, poly(2), 0.7)
    assert display.arms["poly"].best == 0.8
    assert display.arms["poly"].counts["completed"] == 3


def test_plain_lines_tell_the_first_epoch_and_every_trial(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = PlainDisplay(PLANNED, SAMPLES)
    finish(display, poly(0), 0.8)
    finish(display, poly(1), 0.9)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("  poly epoch 1/3: lr 0.1, batch 32, delta 0.2, val 75.00 %")
    assert lines[1].startswith("[1/6] poly search 0 p=")
    assert lines[2].startswith("[2/6] poly search 1 p=")
    assert "val 90.00 %, 6.0 s" in lines[2]


def test_the_first_failure_of_a_kind_is_told_in_full_and_later_ones_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = PlainDisplay(PLANNED, SAMPLES)
    error = "Traceback\n  deep inside\nRuntimeError: broken"
    for replicate in range(3):
        display.trial_started(poly(replicate))
        display.trial_ended(poly(replicate), "failed", None, error)
    text = capsys.readouterr().out
    assert text.count("deep inside") == 1
    assert "RuntimeError: broken (3 times)" in text


def screen(display: RichDisplay, width: int = 100) -> list[str]:
    """The lines that it would draw."""
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(display.render())
    return console.export_text().rstrip().splitlines()


def test_the_rich_screen_shows_arms_and_running_trials() -> None:
    display = RichDisplay(PLANNED, SAMPLES)
    finish(display, poly(0), 0.8)
    running = dataclasses.replace(poly(1), role="confirm")
    display.trial_started(running)
    display.epoch_ended(running, epoch(2))
    lines = screen(display)
    assert lines[1].split()[:6] == ["poly", "1/4", "1", "0", "80.00", "%"]
    (trial,) = [line for line in lines if "confirm" in line]
    assert trial.split()[:8] == ["poly", "confirm", "2/3", "0.1", "32", "0.2", "75.00", "%"]


@pytest.mark.parametrize(
    ("kind", "expected"), [("rich", RichDisplay), ("plain", PlainDisplay), ("none", Display)]
)
def test_display_names_choose_the_display(kind: str, expected: type[Display]) -> None:
    assert type(make_display(kind, PLANNED, SAMPLES)) is expected


def test_auto_display_is_plain_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert type(make_display("auto", PLANNED, SAMPLES)) is PlainDisplay


def test_an_arm_that_is_not_searched_shows_the_mean_of_its_confirm_trials() -> None:
    display = RichDisplay({"poly": 3}, SAMPLES)
    for replicate, objective in enumerate((0.8, 0.9)):
        finish(display, poly(replicate, role="confirm"), objective)
    assert "85.00 % mean of 2" in screen(display)[1]


def test_a_message_while_the_screen_is_drawn_is_part_of_it(capfd: pytest.CaptureFixture) -> None:
    display = RichDisplay(PLANNED, SAMPLES)
    display.notice("before")
    assert capfd.readouterr().err == "\nbefore\n"
    display.view = SimpleNamespace(is_started=True)
    display.notice("stopping")
    assert capfd.readouterr().err == ""
    assert screen(display)[-1] == "stopping"


def test_the_screen_counts_what_diverged_once_something_has() -> None:
    display = RichDisplay({"poly": 6, "baseline": 2}, SAMPLES)
    finish(display, poly(0), 0.8)
    assert "diverged" not in screen(display)[0]
    for replicate in (1, 2):
        trial = poly(replicate)
        display.trial_started(trial)
        display.trial_ended(trial, "diverged", replace(outcome(0.1), status="diverged"), None)
    head, row, default = screen(display, width=120)[:3]
    assert head.split()[:5] == ["space", "done", "running", "diverged", "failed"]
    assert row.split()[:7] == ["poly", "3/6", "0", "2", "0", "80.00", "%"]
    assert default.split()[:5] == ["baseline", "0/2", "0", "0", "0"]


class Cell:
    """Stands for the output of a notebook's cell."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Cell:
        assert raw
        assert display_id
        self.update(data, raw=True)
        return self

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.lines.append(data["text/plain"])


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """This process is a notebook's kernel."""
    cell = Cell()
    kernel = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=cell.display))  # type: ignore[arg-type]
    return cell


def test_a_notebook_shows_one_line_that_moves(
    cell: Cell, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.display.live.NOTEBOOK_SECONDS", 0.0)
    display = make_display("auto", PLANNED, SAMPLES)
    assert type(display) is NotebookDisplay
    display.start()
    assert cell.lines == ["0/6 trainings; 0 s so far"]
    finish(display, poly(), 0.75)
    assert cell.lines[-1].startswith("1/6 trainings; 0 s so far (about ")
    assert cell.lines[-1].endswith("best val 75.00 % (poly)")
    display.trial_started(poly(1))
    display.trial_ended(poly(1), "failed", None, "ValueError: no")
    display.stop()
    assert cell.lines[-1] == "2/6 trainings, 1 failed; 0 s; best val 75.00 % (poly)"
    # Nothing but the failure is printed.
    assert capsys.readouterr().out.splitlines()[-1] == "ValueError: no"


def test_the_line_moves_twice_a_second_at_most(cell: Cell) -> None:
    display = make_display("auto", PLANNED, SAMPLES)
    display.start()
    finish(display, poly(), 0.75)
    assert len(cell.lines) == 2
    display.stop()
    assert len(cell.lines) == 3


def test_a_terminal_of_ipython_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", shell)  # type: ignore[arg-type]
    assert type(make_display("auto", PLANNED, SAMPLES)) is PlainDisplay
