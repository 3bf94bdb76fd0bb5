"""What the epochs of a training came to."""

from __future__ import annotations

from search_spaces.metric import VAL_ACCURACY, make_metric
from search_spaces.records import EpochRecord, so_far, wall_seconds


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
