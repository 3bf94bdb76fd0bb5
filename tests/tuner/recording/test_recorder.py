"""The recorder: what a broken display or a repeated report costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from results.records.store import RunStore
from search_spaces.trial import TrialConfig
from tests.fakes.trials import small_trial
from tests.fakes.tune_loop import tune_trial as fake_trial
from tuner.display.live import Display
from tuner.recording.recorder import Recorder


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
