"""A worker goes on where the copy of the user's folder that it began in was replaced."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks.noop import NoopTrainable
from tests.fakes.results import make_trial


def test_a_worker_takes_another_trial_where_its_folder_was_unpacked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    monkeypatch.chdir(copy)
    configs = [{"trial": json.dumps(make_trial(params={"p": p}).to_dict())} for p in (0.5, 2.0)]
    worker = NoopTrainable(config=configs[0])
    copy.rmdir()
    copy.mkdir()
    (copy / "vocabulary.txt").write_text("")
    assert worker.reset(configs[1])
    assert worker.trial.params["p"] == 2.0
    assert os.listdir() == ["vocabulary.txt"]
