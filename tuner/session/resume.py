"""How does an earlier run go on? Its plan, from its folder and what is given now.

The run folder is the truth: a resumed run takes its recipe, spaces and settings from
manifest.json and config.yaml, never from a pickle, and refuses to become another run.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from results.records.lock import check_free
from results.records.redaction import is_redacted
from results.records.segments import (
    CONFIG_NAME,
    MANIFEST_NAME,
    DamagedFile,
    read_config,
    read_manifest,
    refuse_links,
)
from results.storage.place import BucketError, Place, is_remote
from results.storage.twin import take_up
from search_spaces import SPACES
from search_spaces.space import SearchSpace
from search_spaces.trial import Recipe
from trainables.data.sources import READING, SourceInfo
from tuner.config.compose import DESTINATIONS, find_spaces, read_given, read_keys, restore
from tuner.config.effects import check_effects, check_trackers
from tuner.config.schema import (
    KEYS,
    NAMED,
    Config,
    ConfigError,
    check_value,
    convert,
    plain,
    refusing,
    show,
    value_of,
)
from tuner.config.userfiles import names_of_code
from tuner.config.yamltext import read_yaml
from tuner.plan.checks import check_confirm, check_hours, describe_data
from tuner.plan.imports import check_stored_names
from tuner.plan.plan import Plan
from tuner.plan.recipe import make_recipe, make_trial
from tuner.plan.usercode import changed_parts, check_trainable, code_parts
from tuner.session.cluster import Slots

# What may differ from the first part of the run; nothing here changes a trial.
RESUMABLE = (
    *("trials", "search.hours", "confirm.seeds", "confirm.until", "confirm.max_seeds"),
    "confirm.hours",
    *("max_concurrent", "max_failures", "max_report_seconds"),
    *("resources.cpus_per_trial", "resources.gpus_per_trial"),
    *("cluster.address", "cluster.auth", "dataset.path", "display", "display_log", "report"),
    *("dry_run", "code"),
    *("track", "tracking.project", "tracking.entity", "tracking.mode", "tracking.uri"),
)
# Names that may be repeated, which allows their import, but not changed.
REPEATABLE = (*(f"{key}.name" for key in NAMED), "trainable", "recipe.family")
# What a manifest must tell for its run to go on.
PLANNED = ("recipe", "spaces", "baseline", "delta_ref", "config", "slots")
EXTENDED = ("trials", "search.hours", "confirm.seeds", "confirm.max_seeds", "confirm.hours")
# What of its recipe follows from its configuration alone, in every version.
TOLD_TWICE = (
    *("workload", "dataset", "pool_examples", "train_examples", "num_classes", "model", "width"),
    *("optimizer", "momentum", "nesterov", "weight_decay", "clip_norm", "label_smoothing"),
    *("epochs", "warmup_epochs", "batch0", "batch_max", "trainer", "reports", "objective", "goal"),
    *("data_options", "batch_ladder"),
)


def resume_run(
    target: str,
    given: Mapping[str, Any],
    config_dir: str | None = None,
    function: Callable[..., object] | None = None,
) -> tuple[Plan, Path]:
    """The plan of an earlier run, with what was given now, and its folder.

    Args:
        target: the run's folder, also in a bucket (s3://...), or its name in runs_dir (as given
            now; default: runs).
        given: values by key; only RESUMABLE ones may differ from the run's.
        config_dir, function: see `compose`.

    Raises:
        ConfigError: no such run, or it cannot go on like this.
    """
    target, given = convert("resume", KEYS["resume"], target), dict(given)
    run_dir = _find(target, given.pop("runs_dir", None))
    with refusing(f"resume={target}: "):
        refuse_links(run_dir)
    try:
        stored, manifest = _load(run_dir)
        _planned(stored, manifest)
    except (DamagedFile, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        cure = _cure(run_dir) if isinstance(error, DamagedFile) else ""
        raise ConfigError(f"resume={target}: unreadable run folder: {show(error)}{cure}") from None
    with refusing(f"resume={target}: "):
        check_free(run_dir)
    try:
        return _plan_of(target, stored, manifest, given, config_dir, function), run_dir
    except ConfigError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"resume={target}: unreadable run folder: {show(error)}") from None


def _plan_of(
    target: str,
    stored: Config,
    manifest: Mapping[str, Any],
    given: Mapping[str, Any],
    config_dir: str | None,
    function: Callable[..., object] | None,
) -> Plan:
    """What the folder says, with what was given now."""
    recipe, spaces, baseline = _planned(stored, manifest)
    given = _given(stored, given)
    config = _changed(stored, given)
    check_stored_names(stored, manifest, given, _names_in_files(stored, given, config_dir))
    config.trainable_function = function
    check_trainable(config)
    _check_code(target, config, manifest)
    source = describe_data(config)
    _check_content(target, source, recipe)
    source = replace(source, notes=(*source.notes, *_changed_since(source, manifest)))
    _check_reading(target, source, manifest)
    for arm in (*spaces, *([baseline] if baseline else [])):
        if not arm.name.isprintable():  # of a stranger's, for the terminal
            raise ConfigError(f"resume={target}: unreadable run folder: an arm is {arm.name!a}")
    plan = Plan(
        config=config,
        recipe=replace(recipe, dataset_path=source.path),
        spaces=spaces,
        baseline=baseline,
        delta_ref=manifest["delta_ref"],
        source=source,
    )
    _check_trainable(target, plan)
    return plan


def left_behind(config: Config, run_dir: Path) -> list[str]:
    """A line for each place that the run connected to, and that was not named again.

    A run folder may be a stranger's: nothing of the user's is sent where it says.
    """
    stored, _ = _load(run_dir)
    return [
        f"this run had {key}={show(value_of(stored, key))}, which is not taken from its folder; "
        f"add {key}=... to use one"
        for key, unsaid in DESTINATIONS.items()
        if value_of(stored, key) != unsaid and key not in config.given
    ]


def _check_trainable(target: str, plan: Plan) -> None:
    """What is planned can be trained: every arm has a schedule, in the middle of its ranges."""
    config, recipe = plan.config, plan.recipe
    told = make_recipe(config, plan.source)
    odd = [name for name in TOLD_TWICE if getattr(recipe, name) != getattr(told, name)]
    odd += ["precision"] if recipe.precision not in ("fp32", "bf16") else []
    if odd:
        which = ", ".join(f"recipe.{name}={show(getattr(recipe, name))}" for name in odd)
        raise ConfigError(
            f"resume={target}: {MANIFEST_NAME} says {which}, which is not what {CONFIG_NAME} says"
        )
    names = [space.name for space in plan.spaces]
    if len({*names}) < len(names):
        raise ConfigError(f"resume={target}: {MANIFEST_NAME} has two spaces of one name")
    for space in (*plan.spaces, *([plan.baseline] if plan.baseline else [])):
        middle = {name: axis.from_unit(0.5) for name, axis in space.ranges.items()}
        kinds = (ValueError, TypeError, KeyError, ArithmeticError)
        with refusing(f"resume={target}: {MANIFEST_NAME}: space {show(space.name)}: ", kinds):
            _ = make_trial(config, recipe, space, middle).schedule


def _check_content(target: str, source: SourceInfo, recipe: Recipe) -> None:
    """The data are those that the run began with."""
    of_files = source.files and not recipe.data_files  # a record of before, see Recipe
    found = source.files if of_files else source.fingerprint
    if recipe.trainer != "user" and found != recipe.data_fingerprint:  # those only code knows
        raise ConfigError(
            f"resume={target}: the data changed (fingerprint {found[:12]}, "
            f"the run used {recipe.data_fingerprint[:12]})"
        )


def _changed_since(source: SourceInfo, manifest: Mapping[str, Any]) -> Iterator[str]:
    """A note where files whose content is too long to read are younger than the run."""
    if not source.changed_ns:
        return
    begun = datetime.fromisoformat(manifest["started_at"])
    changed = datetime.fromtimestamp(source.changed_ns / 1e9, UTC)
    if changed > begun:
        yield (
            f"files were changed or put there at {changed:%Y-%m-%d %H:%M} UTC, after the run "
            "began: too large to be read whole, they may hold other images than those it used"
        )


def _check_reading(target: str, source: SourceInfo, manifest: Mapping[str, Any]) -> None:
    """Pixels of one run are read in one way; the fingerprint is of files alone."""
    if source.num_special and manifest.get("reading", 1) != READING:
        raise ConfigError(
            f"resume={target}: {source.num_special} of its images (of a sample) are turned by "
            "EXIF, transparent or not of 8 bits, which this version reads otherwise than the one "
            "that the run began with; start a new run, or resume with that version"
        )


def _check_code(target: str, config: Config, manifest: Mapping[str, Any]) -> None:
    """Other code than the run began with is used only when told to, once for each change."""
    changed = changed_parts(config, manifest)
    accepted = [change["code"] for change in manifest.get("code_changes", [])[-1:]]
    if changed and config.code != "accept" and code_parts(config) not in accepted:
        raise ConfigError(
            f"resume={target}: your code changed since the run began ({show(', '.join(changed))});"
            " code=accept goes on with it, and the verdict says so"
        )


def _find(target: str, runs_dir: Any) -> Path:
    """The run's folder: in the runs_dir that is named, or where the target says, or in runs/."""
    if is_remote(target):
        try:
            return take_up(Place.parse(target))
        except (ValueError, BucketError) as error:
            raise ConfigError(f"resume={error}") from None
    place = convert("runs_dir", KEYS["runs_dir"], runs_dir or KEYS["runs_dir"].default)
    places = [Path(target), Path(place) / target]
    for candidate in reversed(places) if runs_dir else places:
        if (candidate / MANIFEST_NAME).is_file():
            return candidate.resolve()
        if (candidate / CONFIG_NAME).is_file():
            raise ConfigError(f"resume={target}: {MANIFEST_NAME} is missing{_cure(candidate)}")
    raise ConfigError(
        f"resume={show(target)}: no run there or in {show(place)} (manifest.json is missing)"
    )


def _planned(
    stored: Config, manifest: Mapping[str, Any]
) -> tuple[Recipe, tuple[SearchSpace, ...], SearchSpace | None]:
    """What was planned: recipe, arms, baseline.

    Raises:
        DamagedFile: a field is not there, or not as a run writes it.
    """
    if missing := [name for name in PLANNED if name not in manifest]:
        raise DamagedFile(f"{MANIFEST_NAME} lacks {', '.join(missing)}")
    if restore(manifest["config"]).space != stored.space:
        raise DamagedFile(f"{MANIFEST_NAME}: config.space is not what {CONFIG_NAME} says")
    if "seeds" not in manifest["config"].get("confirm", {}):
        raise DamagedFile(f"{MANIFEST_NAME} lacks config.confirm.seeds")
    if set(manifest["slots"]) != set(Slots.__dataclass_fields__):
        raise DamagedFile(f"{MANIFEST_NAME}: slots is {manifest['slots']}")
    if not manifest["spaces"] or not all(space.get("ranges") for space in manifest["spaces"]):
        raise DamagedFile(f"{MANIFEST_NAME}: no spaces")
    try:
        recipe = Recipe(**manifest["recipe"])
    except TypeError as error:
        raise DamagedFile(f"{MANIFEST_NAME}: recipe: {error}") from error
    spaces = [SearchSpace.from_dict(space) for space in manifest["spaces"]]
    baseline = manifest["baseline"]
    return recipe, tuple(spaces), SearchSpace.from_dict(baseline) if baseline else None


def _cure(run_dir: Path) -> str:
    command = f"python -m results verify {shlex.quote(str(run_dir))} repair=true"
    return f"; {command} mends what can be mended"


def _load(run_dir: Path) -> tuple[Config, dict[str, Any]]:
    """The run's configuration as extended so far, and its manifest."""
    try:
        manifest = read_manifest(run_dir)
    except DamagedFile as error:
        raise DamagedFile(f"{MANIFEST_NAME}: {error}") from error
    try:
        stored = read_yaml(read_config(run_dir, manifest))
    except DamagedFile as error:
        raise DamagedFile(f"{CONFIG_NAME}: {error}") from error
    # Earlier extensions are in the manifest; config.yaml is as the run began.
    now = manifest.get("config", {})
    stored["trials"] = now.get("trials") or stored["trials"]
    stored["confirm"] = {**stored["confirm"], **now.get("confirm", {})}
    stored["search"] = {**stored["search"], "hours": now.get("search", {}).get("hours")}
    config = restore(stored)
    for key in EXTENDED:
        check_value(key, value_of(config, key))
    return config, manifest


def _given(stored: Config, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values by full key; trials=+N is N more."""
    more = _more_trials(given)
    return read_given({**given, "trials": stored.trials + more} if more is not None else given)


def check_keys(given: Mapping[str, Any]) -> None:
    """Raise ConfigError for what no resume may be given, whatever its run holds."""
    more = _more_trials(given)
    for key, value in read_keys({**given, "trials": more} if more is not None else given).items():
        _check_key(key, value)


def _more_trials(given: Mapping[str, Any]) -> int | None:
    """The N of trials=+N."""
    more = given.get("trials")
    if not isinstance(more, str) or not more.startswith("+"):
        return None
    if not more[1:].isdecimal():
        raise ConfigError(f"trials={more}: write a whole number, or +N for N more")
    return int(more[1:])


def _check_key(key: str, value: Any) -> None:
    """One that may be given, with a value that it allows."""
    if key in RESUMABLE:
        check_value(key, value)
    elif key not in (*REPEATABLE, "space"):
        raise ConfigError(f"{key}: cannot change when resuming (allowed: {', '.join(RESUMABLE)})")


def _changed(stored: Config, given: Mapping[str, Any]) -> Config:
    """The stored configuration with the resumable keys that were given."""
    for key, value in given.items():
        _check_key(key, value)
        if key in REPEATABLE and value != value_of(stored, key):
            was = value_of(stored, key)
            raise ConfigError(f"{key}={value}: cannot change when resuming (the run has {was})")
    if "trials" in given and (stored.search.budget or stored.search.sampler == "grid"):
        raise ConfigError("trials: this run's search is bounded by its budget or grid")
    for key in ("trials", "confirm.seeds", "search.hours", "confirm.hours"):
        was, now = value_of(stored, key), given.get(key)
        if None not in (was, now) and now < was:
            raise ConfigError(f"{key}={now}: the run already has {was}")
    for key in {*RESUMABLE} - {*given, *DESTINATIONS}:
        if is_redacted(value_of(stored, key)):
            raise ConfigError(f"{key}: held a secret, which the run does not keep; give it again")
    for key in KEYS:
        check_value(key, value_of(stored, key))
    changes = {key: value for key, value in given.items() if key in RESUMABLE}
    config = restore(plain(stored) | DESTINATIONS | changes)
    config.given = frozenset(given)
    check_effects(config)
    check_confirm(config)
    check_hours(config)
    check_trackers(config.track)
    return config


def _names_in_files(stored: Config, given: Mapping[str, Any], config_dir: str | None) -> set[str]:
    """Code named by the space files that are named again; the arms' names may not change."""
    if "space" not in given:
        return set()
    spaces = find_spaces(given["space"], stored.preset, config_dir, stored.trainer)
    if list(spaces) != stored.space:
        raise ConfigError(
            f"space={','.join(spaces)}: cannot change when resuming "
            f"(the run has {','.join(stored.space)})"
        )
    own = [space for name, space in spaces.items() if space is not SPACES.get(name)]
    return {name for space in own for name in names_of_code(space)}
