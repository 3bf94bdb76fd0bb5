"""How does a run go from its first trial to its last word? Tune's loop, signals, and the end."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback

from results import load
from results.records.lock import TakenOver
from results.records.redaction import redacted_error
from results.records.segments import LOGS
from results.records.store import RunStore, describe_failure
from results.records.wall_time import now
from results.storage.mirror import PATIENCE_SECONDS
from search_spaces.records import ENDED_WELL, LOST, error_line
from search_spaces.registry import allowed_imports
from trainables import trainable
from tuner.campaign.campaign import Campaign
from tuner.config.schema import ConfigError
from tuner.display.phrases import describe_path, point
from tuner.display.streams import settle
from tuner.display.summary import print_summary, resume_command
from tuner.plan.checks import cluster_address
from tuner.plan.plan import Plan
from tuner.recording.recorder import STATES, Recorder
from tuner.recording.tracking import Destination, make_trackers
from tuner.session.cluster import Room, Slots, keep_secrets
from tuner.session.interrupts import OK, SOME_FAILED, STORAGE_LOST, Interrupts
from tuner.session.lifeline import Lifeline, addresses_of_ray
from tuner.session.retries import Retries, losses_cost_one_training, workers_may_start
from tuner.session.searcher import CampaignSearcher
from tuner.session.watch import Watch

LEAVING = threading.Lock()  # held by whoever closes the books

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
    ended: threading.Event = field(default_factory=threading.Event, init=False)

    @property
    def store(self) -> RunStore:
        """The run's records."""
        return self.recorder.store

    @property
    def stopping(self) -> bool:
        """True once no further training is to begin."""
        return (
            self.interrupts.received is not None
            or self.recorder.watch_storage() is not None
            or self.campaign.given_up is not None
        )

    def run(self) -> int:
        """Train what is left, close the books; returns the exit code."""
        problem = None
        if not self.campaign.finished:
            self.recorder.show("start")
            for line in self.campaign.forecast.lines() if self.campaign.forecast else ():
                self.recorder.say(line)
            self.interrupts.notice = lambda text: self.recorder.display.notice(text)
            self.interrupts.leave = self._leave
            lifeline = Lifeline(addresses_of_ray(), self._leave)
            try:
                with lifeline:
                    self.train()
            except KeyboardInterrupt:  # a second signal, where the process is not ours
                self.store.event("left")
            except Exception as error:
                if dead := lifeline.verdict():
                    self._leave(dead)
                problem = error_line(str(error)) or repr(error)
                self.store.event("problem", traceback=traceback.format_exc())
            finally:
                self.interrupts.loop_ended()
                self.recorder.show("stop")
        with LEAVING:
            self.ended.set()
            return self.end(problem)

    def train(self) -> None:
        """Tune's loop: our searcher decides, the trainable trains, our callback records."""
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        scratch = tempfile.mkdtemp(prefix="gradtune-")
        resources = {"cpu": self.slots.cpus_per_trial, "gpu": self.slots.gpus_per_trial}
        keep_secrets()
        try:
            with losses_cost_one_training(), workers_may_start():
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
        lost = recorder.settle(in_a_hurry=lambda: self.interrupts.received is not None)
        interrupted = self.interrupts.received is not None
        problem = lost or problem or campaign.given_up or next(iter(recorder.problems), None)
        if not campaign.finished and not interrupted:
            problem = problem or "the run ended before its trials did"
        if not campaign.finished or interrupted or problem:
            recorder.interrupt()
        failed = sum(campaign.num_ended[status] for status in LOST)
        num_ended = campaign.num_ended.total()
        if failed and failed == num_ended:
            problem = problem or f"all {failed} trials failed: {recorder.first_error}"
        diverged = None if problem or interrupted else self._all_diverged()
        problem = redacted_error(problem or diverged or "") or None
        status = "interrupted" if interrupted else "failed" if problem else "completed"
        go_on = resume_command(run_dir, self.store.manifest, self.program)
        try:
            self._close_books(status, problem)
        except OSError as error:
            self._tell_lost(error, go_on)
            return STORAGE_LOST
        if interrupted:
            print(f"interrupted; everything finished is kept. Go on with: {go_on}", flush=True)
            return self.interrupts.exit_code
        if problem:
            print(f"error: {problem}", file=sys.stderr)
            if recorder.mirror is not None and recorder.mirror.is_taken_over:
                return STORAGE_LOST  # another driver goes on with it
            if diverged:
                print(f"every epoch is kept: {describe_path(run_dir)}", file=sys.stderr)
                return SOME_FAILED
            if advice := recorder.memory.advice():
                print(advice, file=sys.stderr)
            kept = "nothing has finished. Go on with"
            if any(campaign.num_ended[status] for status in ENDED_WELL):
                kept = "everything finished is kept. Go on with"
            elif failed:
                kept = "nothing has finished; mend it and start anew, or with the same code "
                kept += "go on with"
            print(f"{kept}: {go_on}", file=sys.stderr)
            return STORAGE_LOST if lost else SOME_FAILED
        recorder.forget_shared()
        self._summarize()
        if self.plan.config.report:
            print(_report_line(run_dir))
        if failed:
            print(f"{failed} of {num_ended} trials failed; the first with:")
            print(f"  {recorder.first_error}")
        if advice := recorder.memory.advice():
            print(advice)
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
            if str(error) != self.recorder.lost:
                print(f"error: {error}", file=sys.stderr)
            print(f"all of the run is kept in {mirror.run_dir}, but not there", file=sys.stderr)
            if not mirror.is_taken_over:
                print(f"on this machine go on with: {go_on}", file=sys.stderr)
            return False
        return True

    def _tell_lost(self, error: OSError, go_on: str) -> None:
        """What the storage has not taken is put beside it, where there is space."""
        run_dir = self.store.run_dir
        if isinstance(error, TakenOver):
            print(f"error: {error.strerror}; this one ends", file=sys.stderr)
            return
        print(f"error: {describe_failure(error, run_dir)}", file=sys.stderr)
        print(f"what was written before is intact{self._rescue()}", file=sys.stderr)
        print(f"when there is space again, go on with: {go_on}", file=sys.stderr)

    def _rescue(self) -> str:
        """Keep the rows that the storage has not taken; what to say of it."""
        folder = None
        try:
            folder = Path(tempfile.mkdtemp(prefix=f"{self.store.run_id}-"))
            if num_rows := self.store.rescue(folder):
                copy = shlex.join(["cp", "-r", f"{folder}/.", str(self.store.run_dir)])
                return f", and the last {num_rows} rows are kept beside it: {copy}"
        except OSError as error:
            told = f"; its last rows are lost ({error_line(str(error))})"
        else:
            told = ""
        shutil.rmtree(folder or "", ignore_errors=True)
        return told

    def _summarize(self) -> None:
        """A finished run whose summary fails is still a finished run."""
        try:
            self.summary(self.store.run_dir)
        except ConfigError:  # of what was asked for besides
            raise
        except Exception as error:
            text = error_line(f"{type(error).__name__}: {error}")
            print(f"warning: no summary could be printed ({text})", file=sys.stderr)

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
            "imports": allowed_imports(),
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
            # Pickled by us: what reads it is neither the driver nor a worker of Ray's.
            constants["function"] = ray.put(trainable.pickled(config.trainable_function))
        return tune.TuneConfig(
            search_alg=CampaignSearcher(
                self.campaign,
                constants,
                stopping=lambda: self.stopping,
                waiting=lambda: self.recorder.storage_fails,
                forget=self.recorder.forget_shared,
                room=self._room(),
            ),
            scheduler=Retries(),
            num_samples=-1,
            # A training of the user's own has a process besides; see trainables/user/process.py.
            reuse_actors=config.trainer == "user" or not config.isolates,
            trial_dirname_creator=lambda tune_trial: tune_trial.trial_id,
        )

    def _room(self) -> Callable[[], int]:
        """How many trials may be handed out at once.

        Fixed on this machine. On a cluster as many as its nodes hold now, or as were asked for:
        what waits for a node makes an autoscaler bring one.
        """
        if cluster_address(self.plan.config) is None:
            return lambda: self.slots.max_concurrent
        if (asked := self.plan.config.max_concurrent) is not None:
            return lambda: asked

        def tell(number: int) -> None:
            self.store.event("room", max_concurrent=number)
            self.recorder.display.say(f"the cluster now holds {number} trials at once")

        return Room(self.slots, tell)

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
            callbacks=[
                self._watch(),
                self.recorder,
                *make_trackers(self.plan.config.track, destination),
                NoProgress(),
            ],
            failure_config=tune.FailureConfig(max_failures=self.plan.config.max_failures),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        )

    def _watch(self) -> Watch:
        config = self.plan.config
        return Watch(
            self.recorder,
            self.slots,
            max_report_seconds=config.max_report_seconds,
            is_own=config.trainer == "user",
            ready=self.interrupts.install,  # Tune has taken SIGUSR1
        )

    def _leave(self, problem: str | None = None) -> None:
        """The loop does not stop after a signal, or Ray has died: go without it.

        Whoever comes second waits here, until the process has ended.
        """
        if problem is None and not self.interrupts.may_exit:
            self.interrupts.repeat()
            return
        LEAVING.acquire()
        if self.ended.is_set():
            LEAVING.release()
            return
        code = SOME_FAILED if self.interrupts.received is None else self.interrupts.exit_code
        try:
            self.recorder.show("stop")
            code = self.end(problem)
            settle()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _close_books(self, status: str, problem: str | None) -> None:
        arms = self.campaign.arms
        self.recorder.clean()
        if self.store.error is not None:
            self.recorder.make_room()
        if self.store.error is not None:  # then the rows are not there that it would tell of
            problem = describe_failure(self.store.error, self.store.run_dir)
            status = "failed"
        self.store.update_manifest(
            status=status,
            problem=problem,
            ended_at=max(now().isoformat(), str(self.store.manifest.get("started_at") or "")),
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


class NoProgress(TrialProgressCallback):  # type: ignore[misc]
    """Tune's own, which it adds where there is none, holds every trial of a run."""

    def on_trial_result(self, *args: Any, **event: Any) -> None:
        """The display tells the progress."""

    on_trial_complete = on_trial_error = on_trial_result


def _report_line(run_dir: Path) -> str:
    """Write report.html; a run that cannot be drawn is still a finished run."""
    from results.report import REPORT_NAME, write_report

    try:
        return f"report: {describe_path(write_report(load(run_dir), run_dir / REPORT_NAME))}"
    except Exception as error:  # of figures, in any version of their library
        text = error_line(f"{type(error).__name__}: {error}")
        return f"note: no report could be written ({text})"
