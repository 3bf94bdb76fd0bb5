"""Tune's loop in this process, without a cluster: one training after the other.

It calls searcher, trainable, callbacks and stopper as Tune does with one worker that is used
again. What only processes can show (signals, deaths, concurrency) is tested through Ray.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune.search import Searcher

from tests.conftest import ROOT
from tuner import run as run_command
from tuner.session import cluster


class OneWorker:
    """Stands for `tune.Tuner`."""

    def __init__(self, trainable: type[tune.Trainable], *, tune_config: Any, run_config: Any):
        self.trainable, self.searcher = trainable, tune_config.search_alg
        self.callbacks, self.stopper = run_config.callbacks, run_config.stop

    def fit(self) -> None:
        """Until the searcher has no more, or everything is to stop."""
        worker = None
        for number, config in enumerate(self._suggestions()):
            trial = SimpleNamespace(trial_id=str(number), config=config, error_file=None)
            if worker is None:
                worker = self.trainable(config=config)
            else:
                worker.reset(config)
            self._call("on_trial_start", trial=trial)
            result: dict[str, Any] = {"done": False}
            while not result["done"] and not self.stopper.stop_all():
                result = worker.train()
                self.searcher.on_trial_result(trial.trial_id, result)
                self._call("on_trial_result", trial=trial, result=result)
            if result["done"]:
                self.searcher.on_trial_complete(trial.trial_id, result=result)

    def _suggestions(self) -> Iterator[dict[str, Any]]:
        number = 0
        while not self.stopper.stop_all():
            config = self.searcher.suggest(str(number))
            assert config is not None, "nothing runs that could be waited for"
            if config == Searcher.FINISHED:
                return
            yield config
            number += 1

    def _call(self, event: str, **about: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(iteration=0, trials=[], **about)


def do_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches of this process start no other."""
    slots = cluster.Slots(cpus_per_trial=1.0, gpus_per_trial=0.0, max_concurrent=1)
    monkeypatch.setattr(cluster, "check_ray", lambda: None)
    monkeypatch.setattr(cluster, "start", lambda address, auth: None)
    monkeypatch.setattr(cluster, "lay_out", lambda config: slots)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1.0})
    monkeypatch.setattr(tune, "Tuner", OneWorker)


class Inline:
    """`python -m tuner.run` in this process, as tests.commands.command.Command starts it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        do_without_ray(monkeypatch)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Its exit code and what it printed."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_command.main([*words, *self._where(words)])
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The same in a process of its own, which a test may kill."""
        return subprocess.Popen(
            [sys.executable, "-m", __name__, *words, *self._where(words)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _where(self, words: Sequence[str]) -> list[str]:
        where = [] if any(w.startswith("resume=") for w in words) else [f"runs_dir={self.folder}"]
        return where + ([] if "report=true" in words else ["report=false"])


if __name__ == "__main__":
    do_without_ray(pytest.MonkeyPatch())
    sys.exit(run_command.main(sys.argv[1:]))
