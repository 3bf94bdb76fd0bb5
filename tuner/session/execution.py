"""How is a plan executed? Ray comes up, the run's books are opened, Tune's loop runs, and ends."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from results.records.lock import RunLock
from results.records.segments import TABLES, read_manifest
from results.records.store import abandon, describe_failure, is_full, reserve
from results.records.wall_time import now
from results.statistics.cost import devices_of
from results.storage.mirror import Mirror, catch_up, mirror_of
from results.storage.place import BucketError, Place, is_remote
from results.storage.twin import WRITE, describe, twin_of
from search_spaces.registry import collector_paused
from tuner.config.schema import Config, ConfigError, StorageError, refusing
from tuner.display.phrases import describe_path
from tuner.display.streams import Streams
from tuner.plan.checks import cluster_address
from tuner.plan.plan import Plan
from tuner.session import cluster
from tuner.session.interrupts import JOB_VARIABLE, OK, Interrupts

if TYPE_CHECKING:  # both import ray, before its variables are set
    from tuner.campaign.campaign import Campaign
    from tuner.recording.recorder import Recorder

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
        ConfigError: the cluster cannot be used like this, or another process writes the run;
            nothing has been written.
        StorageError: the disk is full; a new run's name is free again.
    """
    if resume is not None:
        _mend(resume)
    if resume is not None and _is_finished(plan, resume):
        from tuner.display.summary import print_summary

        with refusing("resume: ", (ValueError, BucketError)):
            catch_up(resume)
        (summary or print_summary)(resume)
        print(describe_path(resume))
        return OK
    with Streams() as streams, _claimed(plan, resume) as (lock, mirror):
        from tuner.display.summary import API, print_summary

        here = os.getcwd() if JOB_VARIABLE in os.environ else ""
        address = cluster_address(plan.config)
        interrupts = Interrupts(may_exit=program != API)
        try:
            abandon = functools.partial(_abandon, lock, mirror)
            with interrupts.before_anything(abandon):
                _start_ray(plan, address, lock.notes, abandon)
                _tell_parcel(plan)
                slots = cluster.lay_out(plan.config, lambda: address is not None)
                from tuner.session.capacity import cap_batches
                from tuner.session.nodes import check_nodes
                from tuner.session.session import Session

                threads = slots.cpus_per_trial if resume is None else None
                plan = cluster.settle(plan, slots.device, threads)
                if resume is None:
                    plan = cap_batches(plan, slots)
                else:
                    _check_device(slots, resume)
                if address is None and (note := cluster.sharing_note(slots.gpus_per_trial)):
                    print(note, file=sys.stderr, flush=True)
                if address is not None:
                    check_nodes(plan, mirror.home.parent if mirror else lock.run_dir.parent)
            # A job's working directory is Ray's copy of what was sent. Every node unpacks it when
            # it is first used there, on one machine into one place: what was there is removed.
            if here:
                os.chdir(here)
            campaign, recorder = _open_books(
                plan, slots, command, lock, mirror, is_new=resume is None
            )
            store = recorder.store
            if here:  # nothing more is looked for there
                os.chdir(lock.run_dir / TABLES[0])
            store.event("start", command=command, slots=asdict(slots), lock=lock.notes)
            streams.tell(lambda failure: store.event("display failed", why=failure))
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
            interrupts.is_closing = False
            cluster.leave(for_good=interrupts.received is not None)
            interrupts.restore()


@contextlib.contextmanager
def _claimed(plan: Plan, resume: Path | None) -> Iterator[tuple[RunLock, Mirror | None]]:
    """The right to write the run, before anything slow begins: another driver hears it at once.

    In a bucket too, where the run is to be in one. A start that fails leaves nothing behind.
    """
    config, name = plan.config, plan.config.name
    run_dir = resume or folder_for(config, name or run_id(plan))
    while not (resume or name) and run_dir.exists():  # begun in the same second
        run_dir = folder_for(config, run_id(plan))
    where = f"resume={describe(run_dir) or run_dir}: " if resume else f"name={name}: " * bool(name)
    try:
        with refusing(where):
            lock = RunLock(run_dir) if resume else reserve(run_dir)
    except OSError as error:
        raise StorageError(describe_failure(error, run_dir)) from None
    try:
        with refusing(where, (ValueError, BucketError)):
            mirror = mirror_of(run_dir)
        try:
            yield lock, mirror
        finally:
            if mirror is not None:
                mirror.abandon()
    finally:
        abandon(lock)


def _abandon(lock: RunLock, mirror: Mirror | None) -> None:
    """What `_claimed` does at its end, from another thread."""
    if mirror is not None:
        mirror.abandon()
    abandon(lock)


def _open_books(
    plan: Plan,
    slots: cluster.Slots,
    command: str,
    lock: RunLock,
    mirror: Mirror | None,
    *,
    is_new: bool,
) -> tuple[Campaign, Recorder]:
    """Those of a new run, or of an earlier one."""
    from tuner.session.books import begin, take_up

    try:
        if is_new:
            return begin(plan, slots, command, lock, mirror)
        return take_up(plan, slots, lock, mirror)
    except OSError as error:
        raise StorageError(describe_failure(error, lock.run_dir)) from None


def _start_ray(
    plan: Plan, address: str | None, notes: Iterable[str], abandon: Callable[[], None]
) -> None:
    """Start or join it, and import meanwhile what the run needs.

    Args:
        notes: told before. abandon: gives free what has been claimed.
    """
    auth = plan.config.cluster.auth
    starts = [] if cluster.is_there(address, auth) else ["starting Ray ..."]
    for line in [*notes, *starts] if plan.config.display != "none" else ():
        print(line, flush=True)
    cluster.set_environment(auth, is_own=address is None)
    helper = threading.Thread(target=_import_heavy, daemon=True)
    helper.start()
    cluster.start(address, auth, abandon)
    helper.join()


def _import_heavy() -> None:
    with collector_paused():
        for name in HEAVY:
            importlib.import_module(name)


def _mend(run_dir: Path) -> None:
    """Damaged records cost what is damaged, and nothing else; each is told in a line.

    Raises:
        ConfigError: they cannot be mended. StorageError: the disk is full.
    """
    from results.records.audit import audit
    from results.records.repair import repair

    try:
        # States are looked at by the worker that takes them up.
        if not audit(run_dir, with_states=False).problems:
            return
        mended = repair(run_dir, with_states=False)
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and is_full(error):
            raise StorageError(describe_failure(error, run_dir)) from None
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
    return made_up_name(plan.config.preset, [space.name for space in plan.spaces])


def made_up_name(preset: str, arms: Iterable[str]) -> str:
    """The same of these arms; "none" is no preset."""
    name = "-".join(arms)[:MAX_NAME_LENGTH].strip("-") if preset == "none" else preset
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    return f"{now():%Y%m%dT%H%M%SZ}-{safe}-{secrets.token_hex(2)}"


def _is_finished(plan: Plan, run_dir: Path) -> bool:
    """True when the run was completed and nothing is left to train."""
    from results import load
    from tuner.campaign.campaign import Campaign

    manifest = read_manifest(run_dir)
    if manifest.get("status") != "completed":
        return False
    campaign = Campaign(plan, devices_of(manifest.get("slots", {})))
    with refusing():
        campaign.replay(load(run_dir).search_rows())
    return campaign.finished


def _check_device(slots: cluster.Slots, resume: Path) -> None:
    """A resumed run stays on the kind of device it began on."""
    device = cluster.Slots(**read_manifest(resume)["slots"]).device
    if device != slots.device:
        raise ConfigError(
            f"resume={resume}: the run used {device}, but this would use {slots.device}"
        )
