"""The recorder: what a broken display or a repeated report costs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from results.records.store import RunStore
from search_spaces.trial import TrialConfig
from tests.fakes.trials import small_trial
from tests.fakes.tune_loop import tune_trial as fake_trial
from tuner.display.live import Display, RichDisplay
from tuner.recording import recorder as recorder_module
from tuner.recording.recorder import STATES, Recorder


class BrokenDisplay(Display):
    """Raises at the first thing it is to show."""

    def trial_started(self, trial: TrialConfig) -> None:
        raise KeyError("no such arm")


def tune_trial(trial: TrialConfig) -> Any:
    """What a callback reads of Tune's trial."""
    return fake_trial(0, {"trial": json.dumps(trial.to_dict())})


def events(store: RunStore) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (store.run_dir / "events.jsonl").read_text().splitlines()]


def test_a_broken_display_is_told_once_with_its_traceback_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = RunStore.create(tmp_path / "run", {"command": ""}, "")
    recorder = Recorder(store, BrokenDisplay({}, 1))
    first, second = (small_trial(space="poly", replicate=number) for number in (0, 1))
    for trial in (first, second):
        recorder.on_trial_start(iteration=1, trials=[], trial=tune_trial(trial))
    assert recorder.problems == []
    assert set(recorder.open) == {first.trial_key, second.trial_key}
    (event,) = [e for e in events(store) if e["kind"] == "display failed"]
    assert "trial_started" in event["traceback"]
    assert "KeyError: 'no such arm'" in event["traceback"]
    printed = capsys.readouterr().err
    assert printed.count("KeyError") == 1
    assert "the run goes on" in printed
    store.close()


def test_a_trial_is_decoded_once_for_all_its_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    decode = TrialConfig.from_dict

    def counted(data: Any) -> TrialConfig:
        decoded.append(data["space"])
        return decode(data)

    store = RunStore.create(tmp_path / "run", {"command": ""}, "")
    recorder = Recorder(store, Display({}, 1))
    reported = tune_trial(small_trial(space="poly", replicate=77))
    monkeypatch.setattr(TrialConfig, "from_dict", counted)
    for _ in range(3):
        recorder.on_trial_start(iteration=1, trials=[], trial=reported)
    recorder.on_trial_error(iteration=1, trials=[], trial=reported)
    assert decoded == ["poly"]
    store.close()


class Spoken(Display):
    """Keeps what it is to say."""

    def __init__(self) -> None:
        super().__init__({}, 1)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """A recorder whose storage has just failed, and its second of patience."""
    monkeypatch.setattr(recorder_module, "STORAGE_PATIENCE_SECONDS", 1.0)
    store = RunStore.create(tmp_path / "run", {"command": ""}, "")
    recorder = Recorder(store, Spoken())
    assert recorder.watch_storage() is None
    (tmp_path / "run" / "trials").rename(tmp_path / "away")
    recorder.on_trial_start(iteration=1, trials=[], trial=tune_trial(small_trial()))
    assert not store.flush()
    yield recorder
    if (tmp_path / "away").exists():
        (tmp_path / "away").rename(tmp_path / "run" / "trials")
    store.close()


def test_a_storage_that_fails_is_told_once_and_so_is_its_return(
    failing: Recorder, tmp_path: Path
) -> None:
    assert not failing.storage_fails
    for _ in range(3):
        assert failing.watch_storage() is None
    assert failing.storage_fails
    (warning,) = failing.display.said
    assert warning.startswith(f"warning: cannot write {tmp_path / 'run'}: No such file")
    (tmp_path / "away").rename(tmp_path / "run" / "trials")
    assert failing.store.flush()
    assert failing.watch_storage() is None
    assert not failing.storage_fails
    assert failing.display.said[1:] == [
        f"{tmp_path / 'run'} can be written again; nothing is lost"
    ]


@pytest.mark.slow
def test_a_storage_that_stays_away_is_given_up_for_good(failing: Recorder, tmp_path: Path) -> None:
    failing.watch_storage()
    time.sleep(1.1)
    lost = failing.watch_storage()
    assert lost is not None
    assert lost.startswith(f"cannot write {tmp_path / 'run'}")
    (tmp_path / "away").rename(tmp_path / "run" / "trials")
    assert failing.store.flush()
    assert failing.watch_storage() == lost


def test_a_state_stays_until_the_row_of_its_training_is_durable(
    failing: Recorder, tmp_path: Path
) -> None:
    state = failing.store.run_dir / STATES / "key" / "00003.pt"
    state.parent.mkdir(parents=True)
    state.touch()
    failing.ended["key"] = failing.store.ticket()
    failing.clean()
    assert state.exists()
    (tmp_path / "away").rename(tmp_path / "run" / "trials")
    failing.clean()
    assert not state.exists()
    assert failing.ended == {}


def test_a_run_that_another_driver_took_over_ends_at_once(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path / "run", {"command": ""}, "")
    recorder = Recorder(store, Display({}, 1))
    newer = {"pid": 1, "host": "node7", "token": "newer"}
    (tmp_path / "run" / ".lock").write_text(json.dumps(newer))
    recorder.on_trial_start(iteration=1, trials=[], trial=tune_trial(small_trial()))
    assert not store.flush()
    assert recorder.watch_storage() == "the run was taken over by process 1 on node7"
    with pytest.raises(OSError, match="taken over"):
        store.close()


class Unpaintable(RichDisplay):
    """Fails while it draws, in the thread that does so."""

    def time_line(self) -> Text:
        raise ZeroDivisionError("no width")


def test_a_screen_that_cannot_be_drawn_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = RunStore.create(tmp_path / "run", {"command": ""}, "")
    display = Unpaintable({"poly": 2}, 1)
    recorder = Recorder(store, display)
    recorder.show("start")
    display.view.refresh()
    for number in (0, 1):
        trial = tune_trial(small_trial(space="poly", replicate=number))
        recorder.on_trial_start(iteration=1, trials=[], trial=trial)
    recorder.say("still heard")
    store.close()
    err = capsys.readouterr().err
    assert err.count("nothing more is shown (ZeroDivisionError: no width)") == 1
    assert err.endswith("still heard\n")
    assert recorder.problems == []
