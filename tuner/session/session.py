"""How does a run go from its first trial to its last word? Tune's loop, signals, and the end."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray import tune

from results import load
from results.records.store import RunStore
from results.storage.mirror import PATIENCE_SECONDS
from search_spaces.records import ENDED_WELL, LOST
from trainables import trainable
from tuner.campaign.campaign import Campaign
from tuner.display.phrases import describe_path, point
from tuner.display.summary import API, print_summary, resume_command
from tuner.plan.plan import Plan
from tuner.recording.recorder import LOGS, STATES, Recorder
from tuner.recording.tracking import Destination, make_trackers
from tuner.session.cluster import Slots
from tuner.session.interrupts import OK, SOME_FAILED, STORAGE_LOST, Interrupts
from tuner.session.searcher import CampaignSearcher

# Of a run in a bucket: the least between two states of a training (it bounds the requests), how
# long a worker asks on where no answer comes, and how long the end of an interrupted run may take.
SAVE_PAUSE_SECONDS, WORKER_PATIENCE_SECONDS, LAST_SECONDS = 10.0, 30.0, 4.0


@dataclass(frozen=True, kw_only=True)
class Session:
    """A run under way: campaign decides, recorder writes; summary and program: see `execute`."""

    plan: Plan
    slots: Slots
    campaign: Campaign
    recorder: Recorder
    interrupts: Interrupts
    summary: Callable[[Path], None] = print_summary
    program: str = "python -m tuner.run"

    @property
    def store(self) -> RunStore:
        """The run's records."""
        return self.recorder.store

    @property
    def stopping(self) -> bool:
        """True once no further training is to begin."""
        return (
            self.interrupts.received is not None
            or self.recorder.storage_lost
            or self.campaign.given_up is not None
        )

    def run(self) -> int:
        """Train what is left, close the books; returns the exit code."""
        problem = None
        if not self.campaign.finished:
            self.recorder.display.start()
            for line in self.campaign.forecast.lines() if self.campaign.forecast else ():
                self.recorder.display.say(line)
            self.interrupts.notice = self.recorder.display.notice
            self.interrupts.leave = self._leave
            try:
                self.train()
            except Exception as error:
                problem = [repr(error), *str(error).strip().splitlines()][-1]
                self.store.event("problem", traceback=traceback.format_exc())
            finally:
                self.interrupts.loop_ended(may_exit=self.program != API)
                self.recorder.display.stop()
        return self.end(problem)

    def train(self) -> None:
        """Tune's loop: our searcher decides, the trainable trains, our callback records."""
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        scratch = tempfile.mkdtemp(prefix="gradtune-")
        resources = {"cpu": self.slots.cpus_per_trial, "gpu": self.slots.gpus_per_trial}
        self.interrupts.install()  # again: Tune takes SIGUSR1
        try:
            tune.Tuner(
                tune.with_resources(trainable.ScheduledTrainable, resources),
                tune_config=self._tune_config(),
                run_config=self._run_config(scratch),
            ).fit()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def end(self, problem: str | None = None) -> int:
        """Close the books, tell the person how it ended, and return the exit code."""
        code = self._end(problem)
        return code if self._close_mirror() else STORAGE_LOST

    def _end(self, problem: str | None) -> int:
        campaign, recorder, run_dir = self.campaign, self.recorder, self.store.run_dir
        interrupted = self.interrupts.received is not None
        problem = problem or campaign.given_up or next(iter(recorder.problems), None)
        if not campaign.finished and not interrupted:
            problem = problem or "the run ended before its trials did"
        if not campaign.finished or interrupted or problem:
            recorder.interrupt()
        failed = sum(campaign.num_ended[status] for status in LOST)
        num_ended = campaign.num_ended.total()
        if failed and failed == num_ended:
            problem = problem or f"all {failed} trials failed: {recorder.first_error}"
        diverged = None if problem or interrupted else self._all_diverged()
        problem = problem or diverged
        status = "interrupted" if interrupted else "failed" if problem else "completed"
        go_on = resume_command(run_dir, self.store.manifest, self.program)
        try:
            self._close_books(status, problem)
        except OSError as error:
            print(f"error: cannot write {run_dir}: {error}", file=sys.stderr)
            print(f"what was written before is intact; go on with: {go_on}", file=sys.stderr)
            return STORAGE_LOST
        if interrupted:
            print(f"interrupted; everything finished is kept. Go on with: {go_on}", flush=True)
            return self.interrupts.exit_code
        if problem:
            print(f"error: {problem}", file=sys.stderr)
            if diverged:
                print(f"every epoch is kept: {describe_path(run_dir)}", file=sys.stderr)
                return SOME_FAILED
            kept = "nothing has finished; mend it and start anew, or with the same code go on with"
            if any(campaign.num_ended[status] for status in ENDED_WELL):
                kept = "everything finished is kept. Go on with"
            print(f"{kept}: {go_on}", file=sys.stderr)
            return SOME_FAILED
        recorder.forget_shared()
        self.summary(run_dir)
        if self.plan.config.report:
            print(_report_line(run_dir))
        if failed:
            print(f"{failed} of {num_ended} trials failed; the first with:")
            print(f"  {recorder.first_error}")
        if not self._close_mirror():
            return STORAGE_LOST
        print(describe_path(run_dir))
        return SOME_FAILED if failed else OK

    def _close_mirror(self) -> bool:
        """True when all of the run is where it belongs; said once where it is not."""
        mirror = self.recorder.mirror
        if mirror is None or mirror.is_closed:
            return mirror is None or mirror.error is None
        interrupted = self.interrupts.received is not None
        try:
            mirror.close(LAST_SECONDS if interrupted else PATIENCE_SECONDS)
        except OSError as error:
            go_on = resume_command(mirror.run_dir, self.store.manifest, self.program)
            print(f"error: {error}", file=sys.stderr)
            print(f"all of the run is kept in {mirror.run_dir}, but not there", file=sys.stderr)
            if not mirror.is_taken_over:
                print(f"on this machine go on with: {go_on}", file=sys.stderr)
            return False
        return True

    def _all_diverged(self) -> str | None:
        """What to say where every training that was not lost has diverged: nothing was found."""
        ended = {s: n for s, n in self.campaign.num_ended.items() if n and s not in LOST}
        if set(ended) != {"diverged"}:
            return None
        epochs = (state.epochs_done for state in self.recorder.state.values())
        first = min(filter(None, epochs), default=1)
        recipe = self.plan.recipe
        cures = {"network": "lower lr or clip (optimizer.clip_norm)", "user": "lower lr or clip"}
        return (
            f"all {ended['diverged']} trainings diverged (first at {point(recipe)} {first}): "
            f"{cures.get(recipe.trainer, 'lower lr')}"
        )

    def _tune_config(self) -> tune.TuneConfig:
        config = self.plan.config
        constants = {
            "device": self.slots.device,
            "checkpoints": str(self.store.run_dir / STATES),
            "logs": str(self.recorder.logs),
            "isolate": config.isolates,
            "max_report_seconds": config.max_report_seconds,
            "max_failures": config.max_failures,
        }
        if self.recorder.mirror is not None:
            home = replace(self.recorder.mirror.home, patience=WORKER_PATIENCE_SECONDS)
            constants |= {
                "checkpoints": home / STATES,
                "pause_seconds": SAVE_PAUSE_SECONDS,
                "log_copies": replace(home, patience=0.0) / LOGS,
            }
        if config.trainable_function is not None:
            # As bytes: what reads it is neither the driver nor a worker of Ray's.
            constants["function"] = ray.put(trainable.pickled(config.trainable_function))
        return tune.TuneConfig(
            search_alg=CampaignSearcher(
                self.campaign, constants, lambda: self.stopping, self.recorder.forget_shared
            ),
            num_samples=-1,
            max_concurrent_trials=self.slots.max_concurrent,
            # A training of the user's own has a process besides; see trainables/user/process.py.
            reuse_actors=config.trainer == "user" or not config.isolates,
            trial_dirname_creator=lambda tune_trial: tune_trial.trial_id,
        )

    def _run_config(self, scratch: str) -> Any:
        """Tune's own state goes to `scratch`: the run folder is ours."""
        destination = Destination(
            run_id=self.store.run_id,
            folder=str(self.store.run_dir.resolve() / "tracking"),
            **asdict(self.plan.config.tracking),
        )
        return tune.RunConfig(
            name="tune",
            storage_path=scratch,
            verbose=0,
            progress_reporter=Silence(),
            stop=StopAll(self),
            callbacks=[self.recorder, *make_trackers(self.plan.config.track, destination)],
            failure_config=tune.FailureConfig(max_failures=self.plan.config.max_failures),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        )

    def _leave(self) -> None:
        """The loop does not stop after a signal: go without it."""
        self.recorder.display.stop()
        os._exit(self.end())

    def _close_books(self, status: str, problem: str | None) -> None:
        arms = self.campaign.arms
        self.store.update_manifest(
            status=status,
            problem=problem,
            ended_at=datetime.now(UTC).isoformat(),
            model_based=self.campaign.num_model_based,
            chosen={name: arm.chosen.config_key for name, arm in arms.items() if arm.chosen},
            shared_samples=self.recorder.num_shared_samples,
            repeated=self.campaign.num_repeated,
            hours_spent=self.campaign.spent,
        )
        self.store.event("end", status=status, trials=self.campaign.num_ended)
        self.store.close()


class StopAll(tune.Stopper):  # type: ignore[misc]
    """Ends Tune's loop when the session is to stop; never a single trial."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its stopper, and nobody reads that pickle."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """False: every trial goes to its end."""
        return False

    def stop_all(self) -> bool:
        """True once the session is stopping."""
        return self.session.stopping


class Silence(tune.ProgressReporter):  # type: ignore[misc]
    """Tune's own of a notebook clears the cell, also when it has nothing to say."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        """The display tells the progress."""
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: str) -> None:
        """Nothing."""


def _report_line(run_dir: Path) -> str:
    """Write report.html; a run that cannot be drawn is still a finished run."""
    from results.report import REPORT_NAME, write_report

    try:
        return f"report: {describe_path(write_report(load(run_dir), run_dir / REPORT_NAME))}"
    except Exception as error:  # of figures, in any version of their library
        return f"note: no report could be written ({type(error).__name__}: {error})"
