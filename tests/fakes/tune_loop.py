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
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import cloudpickle, tune
from ray.tune.search import Searcher

from tests.conftest import ROOT
from tests.fakes.processes import ready
from tuner import run as run_command
from tuner.plan import usercode
from tuner.session import cluster, nodes

CHECK_IMPORT = usercode.check_import


class TuneTrial(SimpleNamespace):
    """What ours reads of Tune's trial."""

    __hash__ = object.__hash__


def tune_trial(number: int, config: dict[str, Any], max_failures: int = 0) -> TuneTrial:
    """A trial that has not begun."""
    return TuneTrial(
        trial_id=str(number),
        config=config,
        error_file=None,
        pickled_error_file=None,
        max_failures=max_failures,
        run_metadata=SimpleNamespace(num_failures=0),
        placement_group_factory=SimpleNamespace(required_resources={"CPU": 1.0}),
        temporary_state=SimpleNamespace(ray_actor=None),
    )


class OneWorker:
    """Stands for `tune.Tuner`."""

    def __init__(self, trainable: type[tune.Trainable], *, tune_config: Any, run_config: Any):
        self.trainable, self.searcher = trainable, tune_config.search_alg
        self.scheduler = tune_config.scheduler
        self.callbacks, self.stopper = run_config.callbacks, run_config.stop
        self.max_failures = run_config.failure_config.max_failures
        self.folder = Path(run_config.storage_path)
        self.worker: tune.Trainable | None = None

    def fit(self) -> None:
        """Until the searcher has no more, or everything is to stop."""
        for callback in self.callbacks:
            callback.setup()
        for number, config in enumerate(self._suggestions()):
            trial = tune_trial(number, config, self.max_failures)
            while not self._train(trial):
                pass
        for callback in self.callbacks:
            callback.on_experiment_end(trials=[])

    def _train(self, trial: TuneTrial) -> bool:
        """True when that was all of it; False where its worker was lost and it begins again."""
        result: dict[str, Any] = {"done": False}
        try:
            if self.worker is None:
                self.worker = self.trainable(config=trial.config)
            else:
                self.worker.reset(trial.config)
        except Exception as error:
            return self._lose(trial, error)
        self._call("on_trial_start", trial=trial)
        while not result["done"] and not self.stopper.stop_all():
            try:
                result = self.worker.train()
            except Exception as error:
                return self._lose(trial, error)
            self.searcher.on_trial_result(trial.trial_id, result)
            self._call("on_trial_result", trial=trial, result=result)
            self._call("on_step_end")
        if result["done"]:
            self.searcher.on_trial_complete(trial.trial_id, result=result)
            self._call("on_trial_complete", trial=trial)
        return True

    def _lose(self, trial: TuneTrial, error: Exception) -> bool:
        self.worker = None
        trial.pickled_error_file = str(self.folder / f"{trial.trial_id}.pkl")
        Path(trial.pickled_error_file).write_bytes(cloudpickle.dumps(error))
        trial.run_metadata.num_failures += 1
        begins_again = bool(trial.run_metadata.num_failures <= trial.max_failures)
        self.scheduler.on_trial_error(SimpleNamespace(_resetting_trials=set()), trial)
        if begins_again:
            self._call("on_trial_recover", trial=trial)
            return False
        self.searcher.on_trial_complete(trial.trial_id, error=True)
        self._call("on_trial_error", trial=trial)
        return True

    def _suggestions(self) -> Iterator[dict[str, Any]]:
        number = 0
        while not self.stopper.stop_all():
            config = self.searcher.suggest(str(number))
            if config is None:
                assert self.searcher.waiting(), "nothing runs that could be waited for"
                time.sleep(0.05)
                continue
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
    monkeypatch.setattr(cluster, "start", lambda address, auth, abandon: None)
    monkeypatch.setattr(cluster, "lay_out", lambda config, may_wait: slots)
    monkeypatch.setattr(nodes, "other_nodes", dict)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1.0})
    monkeypatch.setattr(tune, "Tuner", OneWorker)
    # Whether the user's code can be imported is tried in a Python of its own, 4 s each time:
    # tests/tuner/config/test_config.py.
    monkeypatch.setattr(usercode, "check_import", lambda config, handed=(): None)


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
        return ready.popen(
            *(__name__, *words, *self._where(words)),
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def _where(self, words: Sequence[str]) -> list[str]:
        where = [] if any(w.startswith("resume=") for w in words) else [f"runs_dir={self.folder}"]
        return where + ([] if "report=true" in words else ["report=false"])


if __name__ == "__main__":
    do_without_ray(pytest.MonkeyPatch())
    sys.exit(run_command.main(sys.argv[1:]))
