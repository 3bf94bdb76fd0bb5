"""How is a plan executed? Ray comes up, the run's books are opened, Tune's loop runs, and ends."""

from __future__ import annotations

import importlib
import secrets
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from results.records.segments import read_manifest
from results.statistics.cost import devices_of
from results.storage.place import Place, StorageError, is_remote
from results.storage.twin import WRITE, twin_of
from tuner.config.schema import Config, ConfigError, refusing
from tuner.display.phrases import describe_path
from tuner.plan.plan import Plan
from tuner.session import cluster
from tuner.session.interrupts import OK, Interrupts

MAX_NAME_LENGTH = 30  # of the arms' names in a run's name
# Imported in a helper thread while Ray starts in the main one (3 s on two cores).
HEAVY = (
    "ray.tune",
    "optuna",
    "scipy.stats",
    "pyarrow.parquet",
    "tuner.session.books",
    "tuner.session.session",
)


def execute(
    plan: Plan,
    *,
    program: str,
    command: str,
    resume: Path | None,
    summary: Callable[[Path], None] | None = None,
) -> int:
    """Run the plan; returns the exit code. The last line on success names the run folder.

    Args:
        program: what was typed before the words. command: all of it.
        resume: the folder of the run that goes on.
        summary: prints what a finished run found; None = the best schedule and the verdict.

    Raises:
        ConfigError: the cluster cannot be used like this; nothing has been written.
    """
    if resume is not None:
        _mend(resume)
    if resume is not None and _is_finished(plan, resume):
        from results.storage.mirror import catch_up
        from tuner.display.summary import print_summary

        with refusing("resume: ", (ValueError, StorageError)):
            catch_up(resume)
        (summary or print_summary)(resume)
        print(describe_path(resume))
        return OK
    if plan.config.display != "none":
        print("starting Ray ...", flush=True)
    cluster.set_environment(is_own=plan.config.cluster.address is None)
    helper = threading.Thread(target=lambda: [*map(importlib.import_module, HEAVY)], daemon=True)
    helper.start()
    cluster.start(plan.config.cluster.address)
    helper.join()
    from tuner.display.summary import print_summary
    from tuner.session.books import begin, take_up
    from tuner.session.session import Session

    interrupts = Interrupts()
    interrupts.install()
    try:
        _tell_parcel(plan)
        slots = cluster.lay_out(plan.config)
        plan = cluster.settle(plan, slots.device)
        if resume is None:
            run_dir = folder_for(plan.config, plan.config.name or run_id(plan))
            campaign, recorder = begin(plan, slots, command, run_dir)
        else:
            _check_device(slots, resume)
            campaign, recorder = take_up(plan, slots, resume)
        recorder.store.event("start", command=command, slots=asdict(slots))
        return Session(
            plan=plan,
            slots=slots,
            campaign=campaign,
            recorder=recorder,
            interrupts=interrupts,
            program=program,
            summary=summary or print_summary,
        ).run()
    finally:
        import ray

        ray.shutdown()
        interrupts.restore()


def _mend(run_dir: Path) -> None:
    """Damaged records cost what is damaged, and nothing else; each is told in a line.

    Raises:
        ConfigError: they cannot be mended.
    """
    from results.records.audit import audit
    from results.records.repair import repair

    found = audit(run_dir, with_states=False)  # a worker looks at these when it takes them up
    if not found.problems:
        return
    try:
        mended = repair(run_dir, with_states=False)
    except (ValueError, OSError) as error:
        raise ConfigError(f"resume={run_dir}: {error}") from None
    for line in filter(None, [*mended, audit(run_dir, with_states=False).lost]):
        print(f"note: {line}", file=sys.stderr, flush=True)


def folder_for(config: Config, name: str) -> Path:
    """The folder on this machine that a new run of this name is written in."""
    if is_remote(config.runs_dir):
        return twin_of(Place.parse(config.runs_dir) / name, WRITE)
    return Path(config.runs_dir).resolve() / name


def _tell_parcel(plan: Plan) -> None:
    """One line where much travels with a function of a script or notebook."""
    function = plan.config.trainable_function
    if function is None:
        return
    from tuner.session.parcel import check_parcel

    if line := check_parcel(str(plan.config.trainable), function):
        print(line, file=sys.stderr, flush=True)


def run_id(plan: Plan) -> str:
    """A new name for a run folder: UTC time, the preset or the arms, and something random."""
    preset = plan.config.preset
    arms = "-".join(space.name for space in plan.spaces)[:MAX_NAME_LENGTH].strip("-")
    name = arms if preset == "none" else preset
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{safe}-{secrets.token_hex(2)}"


def _is_finished(plan: Plan, run_dir: Path) -> bool:
    """True when the run was completed and nothing is left to train."""
    from results import load
    from tuner.campaign.campaign import Campaign

    manifest = read_manifest(run_dir)
    if manifest.get("status") != "completed":
        return False
    campaign = Campaign(plan, devices_of(manifest.get("slots", {})))
    campaign.replay(load(run_dir).search_rows())
    return campaign.finished


def _check_device(slots: cluster.Slots, resume: Path) -> None:
    """A resumed run stays on the kind of device it began on."""
    device = cluster.Slots(**read_manifest(resume)["slots"]).device
    if device != slots.device:
        raise ConfigError(
            f"resume={resume}: the run used {device}, but this would use {slots.device}"
        )
