"""What the epochs of a training came to."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.metric import VAL_ACCURACY, make_metric
from search_spaces.records import (
    MAX_ERROR_BYTES,
    MAX_LINE,
    EpochRecord,
    error_line,
    error_text,
    plain_text,
    so_far,
    wall_seconds,
)


def record(epoch: int, **changes: float) -> EpochRecord:
    fields = {
        "stage": 0, "lr": 0.1, "batch_size": 32, "batch_capped": False, "momentum": 0.9,
        "delta": 0.2, "decay_rate": 1.0, "train_loss": 1.5, "train_accuracy": 0.4,
        "eval_seconds": 64.0, "images_per_second": 100.0,
    }  # fmt: skip
    return EpochRecord(epoch=epoch, **fields | changes)


def test_a_training_came_to_its_last_state_its_best_accuracy_and_the_sum_of_its_work() -> None:
    epochs = [
        record(1, num_steps=10, samples_seen=320, val_loss=2.0, val_accuracy=0.3, seconds=1.0),
        record(2, num_steps=9, samples_seen=608, val_loss=0.5, val_accuracy=0.8, seconds=2.0),
        record(3, num_steps=8, samples_seen=864, val_loss=0.7, val_accuracy=0.6, seconds=4.0),
    ]
    assert so_far(epochs, VAL_ACCURACY) == {
        "objective": 0.6,
        "best_val_accuracy": 0.8,
        "metrics": None,
        "val_loss": 0.7,
        "samples_seen": 864,
        "optimizer_steps": 27,
        "train_seconds": 7.0,  # without evaluation
        "wall_seconds": None,  # nobody took the time
    }
    assert so_far(epochs[:1], VAL_ACCURACY)["optimizer_steps"] == 10
    assert so_far(epochs, make_metric("val_loss"))["objective"] == 0.7


def test_wall_time_is_the_sum_of_what_is_known_of_it() -> None:
    work = {"num_steps": 1, "samples_seen": 32, "val_loss": 1.0, "val_accuracy": 0.5}
    epochs = [
        record(n, seconds=1.0, wall_seconds=wall, **work) for n, wall in ((1, 2.5), (2, 4.0))
    ]
    assert wall_seconds(epochs) == 6.5
    unknown = record(3, seconds=1.0, **work)  # of a state from before there was any
    assert wall_seconds([*epochs, unknown]) == 6.5
    assert wall_seconds([unknown]) is None


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("\x1b(Bb\x1bc", "b"),
        ("a\x00b\x7f\x9bc", "abc"),
        ("one\r\ntwo\rthree\n\tfour", "one\ntwo\nthree\n\tfour"),
        ("half \ud83d and whole \U0001f600", "half ? and whole \U0001f600"),
    ],
)
def test_a_text_is_plain_without_what_acts_on_a_terminal(text: str, plain: str) -> None:
    assert plain_text(text) == plain


@given(st.text(st.characters(), max_size=50).map(lambda text: text * 100))
def test_a_recorded_error_fits_and_is_harmless_and_recording_it_again_changes_nothing(
    text: str,
) -> None:
    kept = error_text(text)
    assert len(kept.encode()) <= MAX_ERROR_BYTES
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in kept if c not in "\n\t")
    assert error_text(kept) == kept
    assert max(map(len, kept.split("\n"))) <= MAX_LINE
    assert len(error_line(text)) <= MAX_LINE
    assert "\n" not in error_line(text)


def test_a_long_error_keeps_its_first_line_and_its_end() -> None:
    kept = error_text("log: a.txt\nTraceback\n" + "  deep inside\n" * 1000 + "ValueError: bad")
    assert kept.startswith("log: a.txt\n[...]\n")
    assert kept.endswith("  deep inside\n  deep inside\nValueError: bad")


def test_a_long_line_keeps_its_beginning_and_its_end() -> None:
    (line,) = error_text("ValueError: " + "x" * 1_000_000 + " is bad").splitlines()
    assert line.startswith("ValueError: xxx")
    assert line.endswith("xxx is bad")
    assert " [...] " in line


@pytest.mark.parametrize(("text", "line"), [("", ""), (" \n\n", ""), ("a\n  b  \n\n", "b")])
def test_an_error_in_one_line_is_its_last_that_says_something(text: str, line: str) -> None:
    assert error_line(text) == line
