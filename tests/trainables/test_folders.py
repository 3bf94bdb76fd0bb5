"""States and logs of trainings where no file system is shared: the same trainings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from results.storage.place import Place
from tests.fakes.storage.bucket import Bucket, use_bucket
from tests.fakes.trials import TIMES, small_trial
from trainables.checkpoints import Checkpoints, SupersededError, read_newest
from trainables.files import Folder, LocalFolder
from trainables.trainable import ScheduledTrainable

STATES = Place("s3", "b/run/checkpoints")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return use_bucket(monkeypatch, tmp_path / "cache")


@pytest.fixture(params=["here", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> Folder:
    return LocalFolder(tmp_path / "states") if request.param == "here" else STATES


def drive(config: dict[str, Any], steps: int = 100) -> list[dict[str, Any]]:
    trainable, told = ScheduledTrainable(config), []
    while len(told) < steps and not (told and told[-1]["done"]):
        told.append(trainable.train())
    return told


def records(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in record.items() if k not in TIMES}
        for one in told
        for record in one["records"]
    ]


def test_a_folder_holds_whole_files_by_name(folder: Folder) -> None:
    assert (folder.names(), folder.folders()) == ([], [])
    inside = folder.folder("key")
    assert inside.name == "key"
    inside.write("a", b"1")
    inside.write("a", b"22")
    assert (inside.names(), inside.read("a")) == (["a"], b"22")
    assert folder.folders() == ["key"]
    assert [inside.claim("b"), inside.claim("b")] == [True, False]
    inside.remove("a")
    inside.remove("a")
    with pytest.raises(FileNotFoundError):
        inside.read("a")
    inside.remove_all()
    inside.remove_all()
    assert inside.names() == []


def test_states_are_kept_claimed_and_fenced_alike(folder: Folder) -> None:
    zombie = Checkpoints(folder)
    for epoch in (1, 2, 3):
        zombie.save(epoch, {"epoch": epoch})
    newer = Checkpoints(folder)
    assert (zombie.attempt, newer.attempt) == (1, 2)
    with pytest.raises(SupersededError):
        zombie.save(4, {"epoch": 4})
    states = sorted(name for name in folder.names() if name.endswith(".pt"))
    assert [name[:11] for name in states] == ["00002-a0001", "00003-a0001"]
    folder.write(states[-1], folder.read(states[-1])[:-1])
    assert read_newest(folder) == {"epoch": 2}


@pytest.mark.slow
def test_a_training_goes_on_from_a_state_in_a_bucket(bucket: Bucket) -> None:
    trial = small_trial()
    config = {"trial": json.dumps(trial.to_dict()), "checkpoints": STATES, "device": "cpu"}
    whole = drive({"trial": config["trial"], "device": "cpu"})
    first = drive(config | {"share": {}}, steps=1)
    bucket.asked.clear()
    again = drive(config)
    assert again[0]["attempt"] == first[0]["attempt"] + 1
    assert records(again) == records(whole)
    # What docs/storage.md states of a training that ends before its first state is due: it claims
    # an attempt (list, head, put) and looks for states (list, and what its attempt tells of them).
    bucket.asked.clear()
    drive(
        config | {"pause_seconds": 1e9, "trial": json.dumps(small_trial(space="poly").to_dict())}
    )
    assert bucket.asked == {"list": 2, "head": 1, "put": 1, "get": 1}


@pytest.mark.slow
def test_a_training_goes_on_without_states_where_they_cannot_be_kept(bucket: Bucket) -> None:
    def fail(kind: str, path: str) -> None:
        raise OSError("AWS Error NETWORK_CONNECTION")

    trial = json.dumps(small_trial().to_dict())
    whole = drive({"trial": trial, "device": "cpu"})
    bucket.fails = fail
    told = drive({"trial": trial, "device": "cpu", "checkpoints": STATES})
    assert records(told) == records(whole)
    assert told[-1]["done"]
    assert "can be saved: s3://b/run/checkpoints" in told[0]["warning"]


def test_a_log_is_copied_at_the_end_and_goes_on_elsewhere(tmp_path: Path, bucket: Bucket) -> None:
    trial = small_trial()
    config = {
        "trial": json.dumps(trial.to_dict()),
        "logs": str(tmp_path / "logs"),
        "log_copies": Place("s3", "b/run/logs"),
    }
    trainable = ScheduledTrainable(config)
    log = tmp_path / "logs" / f"{trial.trial_key}.txt"
    log.parent.mkdir()
    log.write_text("printed here")
    trainable._copy_log(is_end=False)  # a moment after it began
    assert bucket.names("b/run/logs") == []
    trainable._copy_log(is_end=True)
    assert bucket.files[f"b/run/logs/{trial.trial_key}.txt"][0] == b"printed here"
    elsewhere = ScheduledTrainable(config | {"logs": str(tmp_path / "other")})
    elsewhere._fetch_log()
    assert (tmp_path / "other" / log.name).read_text() == "printed here"
