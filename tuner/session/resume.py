"""Is this a new run or an earlier one to go on with? Composes the request either way.

The run folder is the truth: a resumed run takes its recipe, spaces and settings from
manifest.json and config.yaml, never from a pickle, and refuses to become another run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from results.records.lock import lock_holder
from search_spaces.registry import is_import_path
from search_spaces.space import SearchSpace
from search_spaces.trial import Recipe
from tuner.config.compose import NAMED, NOT_KEYS, compose
from tuner.config.keys import KEYS, value_of
from tuner.config.schema import Config, ConfigError
from tuner.plan.checks import check_confirm, describe_data
from tuner.plan.plan import Plan
from tuner.plan.usercode import check_trainable, code_digest
from tuner.recording.tracking import check_trackers

TrainFunction = Callable[..., object]  # train(schedule, seed, report), a user's own

# What may differ from the first part of the run; nothing here changes a trial.
RESUMABLE = (
    "trials",
    *("confirm.seeds", "confirm.until", "confirm.max_seeds"),
    "max_concurrent",
    "max_failures",
    "resources.cpus_per_trial",
    "resources.gpus_per_trial",
    "cluster.address",
    "dataset.path",
    *("display", "report"),
    "dry_run",
    "track",
    *("tracking.project", "tracking.entity", "tracking.mode", "tracking.uri"),
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for; plan and run_dir only when it resumes."""

    config: Config
    plan: Plan | None = None
    run_dir: Path | None = None


def compose_run(
    words: list[str], config_dir: str | None, function: TrainFunction | None = None
) -> Request:
    """The request of these command-line words.

    Args:
        function: what `trainable=` names, where it cannot be imported by that name.

    Raises:
        ConfigError: see `compose`; or the run cannot be resumed like this.
    """
    targets = [word.partition("=")[2] for word in words if word.startswith("resume=")]
    if not targets or targets[-1] in ("", "null"):
        config = compose(words, config_dir)
        config.user_function = function
        return Request(config=config)
    return _resume(targets[-1], [w for w in words if not w.startswith("resume=")], function)


def config_yaml(config: Config) -> str:
    """config.yaml of the run folder: every key, plain YAML."""
    return str(OmegaConf.to_yaml(OmegaConf.create(plain(config))))


def plain(config: Config) -> dict[str, Any]:
    """Every key of the configuration as plain values."""
    fields = asdict(replace(config, user_function=None))  # no copy of what a function holds
    return {k: v for k, v in fields.items() if k not in ("defaults", *NOT_KEYS)}


def _resume(target: str, words: list[str], function: TrainFunction | None) -> Request:
    run_dir = _find(target)
    try:
        manifest = json.loads((run_dir / "manifest.json").read_text())
        stored = _load_config(run_dir / "config.yaml")
    except Exception as error:  # yaml and OmegaConf each raise a hierarchy of their own
        line = " ".join(str(error).split())[:200]
        raise ConfigError(f"resume={target}: unreadable run folder: {line}") from None
    # Earlier extensions are in the manifest; config.yaml is as the run began.
    for key in ("trials", "confirm"):
        now = manifest.get("config", {}).get(key)
        if key == "trials" and now:
            stored.trials = int(now)
        elif now:
            stored.confirm.seeds = int(now["seeds"])
            stored.confirm.until = str(now.get("until", stored.confirm.until))
            stored.confirm.max_seeds = int(now.get("max_seeds", stored.confirm.max_seeds))
    holder = lock_holder(run_dir)
    if holder is not None and holder.alive:
        raise ConfigError(f"resume={target}: process {holder.pid} is still writing this run")
    given = dict(word.partition("=")[::2] for word in words)
    config = _changed(stored, given)
    _check_foreign(stored, manifest, given)
    config.user_function = function
    check_trainable(config)
    try:
        source = describe_data(config)
    except ValueError as error:
        raise ConfigError(f"dataset: {error}") from None
    recipe = Recipe(**manifest["recipe"])
    if code_digest(config) != recipe.code_digest:
        raise ConfigError(
            f"resume={target}: the run's own model, dataset, optimizer or trainable changed"
        )
    if source.fingerprint != recipe.data_fingerprint:
        raise ConfigError(
            f"resume={target}: the data changed (fingerprint {source.fingerprint[:12]}, "
            f"the run used {recipe.data_fingerprint[:12]})"
        )
    baseline = manifest["baseline"]
    plan = Plan(
        config=config,
        recipe=replace(recipe, dataset_path=source.path),
        spaces=tuple(SearchSpace.from_dict(space) for space in manifest["spaces"]),
        baseline=SearchSpace.from_dict(baseline) if baseline else None,
        delta_ref=manifest["delta_ref"],
        source=source,
    )
    return Request(config=config, plan=plan, run_dir=run_dir)


def _find(target: str) -> Path:
    for candidate in (Path(target), Path("runs") / target):
        if (candidate / "manifest.json").is_file():
            return candidate.resolve()
    raise ConfigError(f"resume={target}: no run there (manifest.json is missing)")


def _load_config(path: Path) -> Config:
    data: Any = OmegaConf.to_container(OmegaConf.load(path))
    schema = OmegaConf.structured(Config)
    config = OmegaConf.to_object(OmegaConf.merge(schema, data))
    assert isinstance(config, Config), "the schema is Config"
    return config


def _changed(stored: Config, given: dict[str, str]) -> Config:
    """The stored configuration with the resumable keys that were given."""
    words = []
    for key, value in given.items():
        if key in (*NAMED, "trainable", "space"):
            _check_same(stored, key, value)
            continue
        if key not in RESUMABLE:
            raise ConfigError(
                f"{key}: cannot change when resuming (allowed: {', '.join(RESUMABLE)})"
            )
        if key == "trials" and (stored.search.budget or stored.search.sampler == "grid"):
            raise ConfigError("trials: this run's search is bounded by its budget or grid")
        if key == "trials" and value.startswith("+"):
            value = str(stored.trials + _whole(key, value))
        words.append(f"{key}={value}")
    fresh = compose(words)
    data = asdict(stored)
    for key in given:
        if key in RESUMABLE:
            head, _, rest = key.partition(".")
            value = value_of(fresh, key)
            check = KEYS[key].check
            if check is not None and value is not None and not check(value):
                raise ConfigError(f"{key}={value}: allowed is {KEYS[key].allowed}")
            if rest:
                data[head][rest] = value
            else:
                data[head] = value
    if data["trials"] < stored.trials:
        raise ConfigError(f"trials={data['trials']}: the run already has {stored.trials}")
    if data["confirm"]["seeds"] < stored.confirm.seeds:
        raise ConfigError(
            f"confirm.seeds={data['confirm']['seeds']}: the run already has {stored.confirm.seeds}"
        )
    merged = OmegaConf.merge(OmegaConf.structured(Config), data)
    config = OmegaConf.to_object(merged)
    assert isinstance(config, Config), "the schema is Config"
    check_confirm(config)
    try:
        check_trackers(config.track)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return config


def _check_same(stored: Config, key: str, value: str) -> None:
    """Names may be repeated (which allows their import), not changed."""
    if key != "space":
        was = stored.trainable if key == "trainable" else value_of(stored, f"{key}.name")
        if value != was:
            raise ConfigError(f"{key}={value}: cannot change when resuming (the run has {was})")
        return
    asked = compose([f"preset={stored.preset}", f"space={value}"]).space
    if asked != stored.space:
        raise ConfigError(
            f"space={value}: cannot change when resuming (the run has {','.join(stored.space)})"
        )


def _whole(key: str, text: str) -> int:
    if not text.lstrip("+").isdigit():
        raise ConfigError(f"{key}={text}: write a whole number, or +N for N more")
    return int(text.lstrip("+"))


def _stored_names(stored: Config, recipe: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Whatever may name code to import, with the key that names it."""
    yield "trainable", stored.trainable or ""
    for key in NAMED:
        yield key, value_of(stored, f"{key}.name")
        is_own = key == "model" and recipe.get("trainer") == "user"
        yield "trainable" if is_own else key, recipe[key]


def _check_foreign(stored: Config, manifest: dict[str, Any], given: dict[str, str]) -> None:
    """Code named by a stored run is imported only if the command line names it again."""
    for key, name in _stored_names(stored, manifest["recipe"]):
        if is_import_path(name) and given.get(key) != name:
            raise ConfigError(f"resume: this run imports {name}; repeat {key}={name} to allow it")
    spaces = [*manifest["spaces"], *([manifest["baseline"]] if manifest["baseline"] else [])]
    families = [s["family"] for s in spaces if is_import_path(s["family"])]
    allowed = (
        {s.family for s in compose([f"space={given['space']}"]).user_spaces.values()}
        if ("space" in given)
        else set()
    )
    for family in families:
        if family not in allowed:
            raise ConfigError(f"resume: this run imports {family}; repeat its space=<file>")
