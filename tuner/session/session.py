"""How does a plan become a finished run folder? Ray up, Tune's loop, signals, and the end."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from search_spaces.records import ENDED_WELL, LOST
from tuner.config.schema import ConfigError, plain
from tuner.config.yamltext import write_yaml
from tuner.plan.plan import Plan
from tuner.session import cluster
from tuner.session.interrupts import Interrupts
from tuner.session.manifest import make_manifest, read_manifest

OK, SOME_FAILED, STORAGE_LOST = 0, 1, 4
# Imported in a helper thread while Ray starts in the main one (3 s on two cores).
HEAVY = (
    "ray.tune",
    "optuna",
    "scipy.stats",
    "pyarrow.parquet",
    "tuner.session.searcher",
    "tuner.recording.recorder",
    "trainables.trainable",
)


def execute(
    plan: Plan,
    *,
    command: str,
    resume: Path | None,
    summary: Callable[[Path], None] | None = None,
    again: str = "python -m tuner.run resume={}",
) -> int:
    """Run the plan; returns the exit code. The last line on success names the run folder.

    Args:
        summary: prints what a finished run found; None = the best schedule and the verdict.
        again: what goes on with the run, with {} for its folder.

    Raises:
        ConfigError: the cluster cannot be used like this; nothing has been written.
    """
    if resume is not None and _is_finished(plan, resume):
        from tuner.display.summary import print_summary

        (summary or print_summary)(resume)
        print(_shown(resume))
        return OK
    if plan.config.display != "none":
        print("starting Ray ...", flush=True)
    cluster.set_environment()
    with _importing(HEAVY):
        cluster.start(plan.config.cluster.address)
    interrupts = Interrupts()
    interrupts.install()
    try:
        slots = cluster.lay_out(plan.config)
        _check_device(slots, resume)
        plan = cluster.settle(plan, slots.device)
        return _run(plan, slots, command, resume, interrupts, summary, again)
    finally:
        import ray

        ray.shutdown()
        interrupts.restore()


def _has_looked(plan: Plan, run_dir: Path, rows: list[dict[str, Any]]) -> bool:
    """True when somebody may have looked at confirm trials before more seeds were asked for."""
    manifest, confirm = read_manifest(run_dir), plan.config.confirm
    before = manifest["config"]["confirm"]
    has_more = confirm.seeds > before["seeds"] and any(r["role"] == "confirm" for r in rows)
    untils = (confirm.until, before.get("until"))
    return bool(manifest.get("looked")) or has_more or "decided" in untils


def _is_finished(plan: Plan, run_dir: Path) -> bool:
    """True when the run was completed and nothing is left to train."""
    from results import load
    from tuner.campaign.campaign import Campaign

    if read_manifest(run_dir).get("status") != "completed":
        return False
    campaign = Campaign(plan)
    campaign.replay(load(run_dir).search_rows())
    return campaign.finished


def _run(
    plan: Plan,
    slots: cluster.Slots,
    command: str,
    resume: Path | None,
    interrupts: Interrupts,
    summary: Callable[[Path], None] | None,
    again: str,
) -> int:
    from results import load
    from results.records.schema import trial_from_row
    from results.records.store import RunStore
    from tuner.campaign.campaign import Campaign
    from tuner.display.live import make_display
    from tuner.display.summary import print_summary
    from tuner.recording.recorder import Recorder

    summary = summary or print_summary
    rows: list[dict[str, Any]] = []
    campaign = Campaign(plan)
    display = make_display(plan.config.display, plan.trials_by_arm(), plan.num_samples)
    try:
        if resume is not None:
            rows = load(resume).search_rows()
            store = RunStore.open(resume)
            campaign.replay(rows)
            for row in rows:
                if campaign.counts(row):
                    trial, rungs = trial_from_row(row), campaign.num_rungs(row)
                    display.resumed(trial, row["status"], row["objective"], rungs)
            store.update_manifest(
                status="running",
                config=plain(plan.config),
                looked=_has_looked(plan, resume, rows),
            )
        else:
            run_dir = Path(plan.config.runs_dir).resolve() / (plan.config.name or run_id(plan))
            store = RunStore.create(
                run_dir, make_manifest(plan, slots, command), write_yaml(plain(plan.config))
            )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    recorder = Recorder(store, display, store.run_dir / "checkpoints")
    recorder.remember(rows, read_manifest(store.run_dir).get("shared_samples", 0))
    store.event("start", command=command, slots=asdict(slots))
    problem = None
    if not campaign.finished:
        display.start()

        def leave() -> None:
            display.stop()
            os._exit(_end(store, recorder, campaign, interrupts, None, summary, again))

        interrupts.leave = leave
        try:
            _fit(plan, slots, campaign, recorder, interrupts)
        except Exception as error:
            problem = str(error).strip().splitlines()[-1] if str(error).strip() else repr(error)
            store.event("problem", traceback=traceback.format_exc())
        finally:
            interrupts.loop_ended(may_exit=again.startswith("python"))
            display.stop()
    return _end(store, recorder, campaign, interrupts, problem, summary, again)


def _check_device(slots: cluster.Slots, resume: Path | None) -> None:
    """A resumed run stays on the kind of device it began on."""
    if resume is None:
        return
    before = json.loads((resume / "manifest.json").read_text())["slots"]
    device = cluster.Slots(**before).device
    if device != slots.device:
        raise ConfigError(
            f"resume={resume}: the run used {device}, but this would use {slots.device}"
        )


def _fit(
    plan: Plan, slots: cluster.Slots, campaign: Any, recorder: Any, interrupts: Interrupts
) -> None:
    """Tune's loop: our searcher decides, the trainable trains, our callback records."""
    import logging

    import ray
    from ray import tune

    from trainables.trainable import ScheduledTrainable
    from tuner.recording.tracking import Destination, make_trackers
    from tuner.session.searcher import CampaignSearcher

    def stopping() -> bool:
        return (
            interrupts.received is not None
            or recorder.storage_lost
            or campaign.given_up is not None
        )

    class StopAll(tune.Stopper):  # type: ignore[misc]
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return stopping()

    store = recorder.store
    destination = Destination(
        run_id=store.run_id,
        folder=str(store.run_dir.resolve() / "tracking"),
        **asdict(plan.config.tracking),
    )
    constants = {"device": slots.device, "checkpoints": str(recorder.checkpoints)}
    if plan.config.trainable_function is not None:
        constants["function"] = ray.put(plan.config.trainable_function)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    scratch = tempfile.mkdtemp(prefix="gradtune-")
    interrupts.install()  # again: Tune takes SIGUSR1
    try:
        tune.Tuner(
            tune.with_resources(ScheduledTrainable, slots.resources),
            tune_config=tune.TuneConfig(
                search_alg=CampaignSearcher(campaign, constants=constants, stopping=stopping),
                num_samples=-1,
                max_concurrent_trials=slots.max_concurrent,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=scratch,
                verbose=0,
                stop=StopAll(),
                callbacks=[recorder, *make_trackers(plan.config.track, destination)],
                failure_config=tune.FailureConfig(max_failures=plan.config.max_failures),
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=0, checkpoint_at_end=False
                ),
            ),
        ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _end(
    store: Any,
    recorder: Any,
    campaign: Any,
    interrupts: Interrupts,
    problem: str | None,
    print_summary: Callable[[Path], None],
    again: str,
) -> int:
    """Close the books, tell the person how it ended, and return the exit code."""
    run_dir = store.run_dir
    resume_command = again.format(_shown(run_dir))
    problem = problem or campaign.given_up or (recorder.problems or [None])[0]
    interrupted = interrupts.received is not None
    if not campaign.finished and not interrupted:
        problem = problem or "the run ended before its trials did"
    if not campaign.finished or interrupted or problem:
        recorder.interrupt()
    failed = sum(campaign.num_ended.get(status, 0) for status in LOST)
    if failed and failed == sum(campaign.num_ended.values()):
        problem = problem or f"all {failed} trials failed: {recorder.first_error}"
    status = "interrupted" if interrupted else "failed" if problem else "completed"
    ended_at = datetime.now(UTC).isoformat()
    chosen = {name: arm.chosen.config_key for name, arm in campaign.arms.items() if arm.chosen}
    store.update_manifest(
        status=status,
        problem=problem,
        ended_at=ended_at,
        model_based=campaign.num_model_based,
        chosen=chosen,
        shared_samples=recorder.num_shared_samples,
    )
    store.event("end", status=status, trials=campaign.num_ended)
    try:
        store.close()
    except OSError as error:
        print(f"error: cannot write {run_dir}: {error}", file=sys.stderr)
        print(f"what was written before is intact; go on with: {resume_command}", file=sys.stderr)
        return STORAGE_LOST
    if status == "completed":
        recorder.forget_shared()
    if interrupted:
        print(
            f"interrupted; everything finished is kept. Go on with: {resume_command}", flush=True
        )
        return interrupts.exit_code
    if problem:
        print(f"error: {problem}", file=sys.stderr)
        well = sum(campaign.num_ended.get(s, 0) for s in ENDED_WELL)
        kept = (
            "everything finished is kept. Go on with"
            if well
            else ("nothing has finished; mend it and start anew, or with the same code go on with")
        )
        print(f"{kept}: {resume_command}", file=sys.stderr)
        return SOME_FAILED
    print_summary(run_dir)
    if campaign.plan.config.report:
        print(_report_line(run_dir))
    if failed:
        print(f"{failed} of {sum(campaign.num_ended.values())} trials failed; the first with:")
        print(f"  {recorder.first_error}")
    print(_shown(run_dir))
    return SOME_FAILED if failed else OK


def _report_line(run_dir: Path) -> str:
    """Write report.html; a run that cannot be drawn is still a finished run."""
    from results import load
    from results.report import REPORT_NAME, write_report

    try:
        return f"report: {_shown(write_report(load(run_dir), run_dir / REPORT_NAME))}"
    except Exception as error:  # of figures, in any version of their library
        return f"note: no report could be written ({type(error).__name__}: {error})"


@contextlib.contextmanager
def _importing(modules: tuple[str, ...]) -> Iterator[None]:
    """Import modules in a helper thread while the body runs."""

    def work() -> None:
        for module in modules:
            importlib.import_module(module)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join()


def run_id(plan: Plan) -> str:
    """A new name for a run folder: UTC time, spaces, and something random."""
    names = "-".join(space.name for space in plan.spaces)[:30].strip("-")
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in names)
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{safe}-{secrets.token_hex(2)}"


def _shown(path: Path) -> str:
    """Relative to the working directory where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
