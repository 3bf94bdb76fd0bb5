"""What did the user ask for? Keys and values become a `Config`, a plain dataclass.

Layers, each over the one before: the schema's defaults, the workload, the preset, and what was
given, by the command line (words.py) or from Python. Every mistake is a `ConfigError` whose text
is one line. Neither torch nor ray is imported here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces import FAMILIES, SPACES
from search_spaces.registry import (
    DOWNLOADS,
    allow_import,
    check_name,
    find_source,
    is_import_path,
    nearest,
)
from search_spaces.space import EXTRA_PARAMS, SearchSpace
from trainables import DATASETS, MODELS
from tuner.config.presets import PRESETS
from tuner.config.schema import (
    KEYS,
    MISSING,
    NAMED,
    RANGE_KEYS,
    RECIPE_KEYS,
    SEARCHED,
    Config,
    ConfigError,
    RangeConfig,
    convert,
    flatten,
    is_of_training,
    make_config,
    range_key,
    refusing,
    show,
)
from tuner.config.userfiles import load_space, load_yaml
from tuner.config.words import parse_words
from tuner.config.workloads import CONSTANTS, CUSTOM, WORKLOADS

# Keys whose value may name code to import.
NAMES_OF_CODE = (*(f"{key}.name" for key in NAMED), "recipe.family", "trainable")
SPACE_FILES = (".py", ".yaml", ".yml")
# Where a run connects to with the user's token or password, and what holds where nothing is said:
# these are never taken from a file.
DESTINATIONS = {
    key: KEYS[key].default
    for key in ("cluster.address", "cluster.auth", "tracking.uri", "tracking.entity")
}
NUMBER = RANGE_KEYS["value"]._replace(optional=False)
# Keys that a user's own file of this kind may not set.
NOT_IN_FILE = {
    "workload": ("workload", "preset", "space", "resume", *DESTINATIONS),
    "preset": ("preset", "resume", *DESTINATIONS),
}


def compose(
    given: Mapping[str, Any] | Sequence[str],
    config_dir: str | None = None,
    function: Callable[..., object] | None = None,
) -> Config:
    """The configuration of a new run.

    Args:
        given: values by key, dotted or nested; or a command line's words, read here once.
        config_dir: folder whose space/, workload/ and preset/ YAML files join the built-in ones.
        function: what `trainable` names, where it cannot be imported by that name.
    """
    asked = read_given(given if isinstance(given, Mapping) else parse_words(given))
    settings = {name: preset.settings for name, preset in PRESETS.items()}
    preset_name = asked.get("preset", "none")
    of_preset, is_file = _layer("preset", preset_name, settings, config_dir)
    workload = asked.get("workload", _default_workload(asked, of_preset))
    of_workload, own_workload = _layer("workload", workload, WORKLOADS, config_dir)
    names = {"workload": workload, "preset": preset_name}
    values = {**of_workload, **of_preset, **asked, **names}
    optimizer = values.get("optimizer.name", KEYS["optimizer.name"].default)
    for name, value in ({} if own_workload else CONSTANTS.get((workload, optimizer), {})).items():
        key = f"noise.{name}"
        values[key] = {**of_preset, **asked}.get(key, value)
    if "noise.c2" in asked:  # not what was measured, unless it is said to be
        values["noise.source"] = asked.get("noise.source")
    default_arms = [arm.name for arm in _arms(preset_name)] or KEYS["space"].default
    names_of_arms = values.get("space", default_arms)
    trainer = values.get("trainer", KEYS["trainer"].default)
    spaces = find_spaces(names_of_arms, preset_name, config_dir, trainer)
    ranges = {key: values.pop(key) for key in list(values) if key.startswith("spaces.")}
    params = {key: values.pop(key) for key in list(values) if is_param(key)}
    for key, known in KEYS.items():
        values.setdefault(key, known.default)
    missing = [key.removesuffix(".name") for key in KEYS if values[key] == MISSING]
    if missing:
        for what, registry in (("dataset", DATASETS), ("model", MODELS)):
            name = asked.get(f"{what}.name", MISSING)
            if name != MISSING and not name.startswith(DOWNLOADS):
                with refusing():
                    check_name(what, name, registry)
                    find_source(name)
        or_recipe = ", or workload=<name>, whose recipe then holds" if workload == CUSTOM else ""
        raise ConfigError(
            f"{', '.join(missing)}: no value; workload={workload} leaves them to you: "
            f"{' '.join(f'{key}=...' for key in missing)}{or_recipe}"
        )
    config = make_config(values)
    config.recipe.params = _recipe_params(config.recipe.family, params, asked)
    config.space = list(spaces)
    config.spaces = {name: _node(space) for name, space in spaces.items()}
    for key, value in ranges.items():
        _set_range(config.spaces, key, value, config.trainer)
    config.user_spaces = {n: space for n, space in spaces.items() if space is not SPACES.get(n)}
    config.given = frozenset(asked) | (frozenset(of_preset) if is_file else frozenset())
    config.trainable_function = function
    return config


def restore(stored: Mapping[str, Any]) -> Config:
    """The configuration that `plain` made a mapping of, as a run folder keeps it."""
    recipe = dict(stored.get("recipe", {}))
    params = recipe.pop("params", {})
    values = {name: value for name, value in stored.items() if name != "spaces"}
    config = make_config(read_keys(values | {"recipe": recipe}))
    config.spaces, config.recipe.params = dict(stored.get("spaces", {})), dict(params)
    return config


def read_given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What whoever starts the run has given: the code that it names may run in this process."""
    values = read_keys(settings)
    names = (str(values.get(key) or "") for key in NAMES_OF_CODE)
    allow_import(*filter(is_import_path, names))
    return values


def read_keys(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every value at its full dotted key, of the key's type; ranges of spaces as they are."""
    values = {}
    for key, value in flatten(settings):
        if key in ("workload", "preset") and isinstance(value, list | tuple):
            if len(value) != 1:
                raise ConfigError(f"{key}={show(list(value))}: name one")
            (value,) = value
        if not key.startswith("spaces.") and not is_param(key) and key not in KEYS:
            raise ConfigError(f"unknown key {key!r}{nearest(key, KEYS)}")
        values[key] = convert(key, KEYS[key], value) if key in KEYS else value
    return values


def is_param(key: str) -> bool:
    """True for `recipe.<param>`, a parameter of the baseline's curve."""
    return bool(re.fullmatch(r"recipe\.[A-Za-z_]\w*", key)) and key not in KEYS


def _recipe_params(
    family: str, values: Mapping[str, Any], asked: Mapping[str, Any]
) -> dict[str, float]:
    """Parameters of the baseline's curve; a workload's go with its curve."""
    known = FAMILIES[family].parameters if family in FAMILIES else None
    params = {}
    for key, value in values.items():
        name = key.partition(".")[2]
        if known is None or name in known:
            params[name] = convert(key, NUMBER, value)
        elif key in asked or "recipe.family" not in asked:
            keys = [*KEYS, *(f"recipe.{param}" for param in known)]
            raise ConfigError(f"unknown key {key!r}{nearest(key, keys)}")
    return params


def _default_workload(asked: Mapping[str, Any], of_preset: Mapping[str, Any]) -> str:
    """A dataset or model of one's choice takes over no recipe that was made for others."""
    if "trainable" in asked:
        return "user"
    if "workload" not in of_preset and not {"dataset.name", "model.name"}.isdisjoint(asked):
        return CUSTOM
    return str(of_preset.get("workload", KEYS["workload"].default))


def _layer(
    group: str, name: str, built_in: Mapping[str, Mapping[str, Any]], config_dir: str | None
) -> tuple[dict[str, Any], bool]:
    """What this workload or preset sets, and whether a file of the user's says so."""
    files = _files(group, config_dir)
    if name not in files:
        _check_known(group, name, [*built_in, *files])
        return read_keys(built_in[name]), False
    path = files[name]
    try:
        values = read_keys(load_yaml(path))
    except ConfigError as error:
        where = "" if str(path) in str(error) else f"{path}: "
        raise ConfigError(f"{where}{error}") from None
    for key in NOT_IN_FILE[group]:
        if key in values:
            raise ConfigError(f"{path}: {key}: a {group} cannot set it")
    if "://" in str(values.get("runs_dir")):  # with the user's credentials
        raise ConfigError(f"{path}: runs_dir: a {group} cannot set one in a bucket")
    named = [(key, values.get(key) or "") for key in NAMES_OF_CODE]
    named += [("space", name) for name in values.get("space", ())]
    for key, name in named:
        if is_import_path(name) or name.endswith(".py"):
            raise ConfigError(
                f"{path}: {key}: {name} would run code; name it on the command line instead"
            )
    return values, True


def _files(group: str, config_dir: str | None) -> dict[str, Path]:
    """The user's own files of this kind by name; a broken one that is not named does no harm."""
    if config_dir is None:
        return {}
    if not Path(config_dir).is_dir():
        raise ConfigError(f"--config-dir {config_dir!r} is not a folder")
    return {path.stem: path for path in sorted((Path(config_dir) / group).glob("*.y*ml"))}


def _check_known(group: str, name: str, options: Iterable[str]) -> None:
    if name not in options:
        known = ", ".join(options)
        raise ConfigError(f"unknown {group} {name!r}{nearest(name, options)} (known: {known})")


def find_spaces(
    names: Sequence[str], preset: str, config_dir: str | None, trainer: str
) -> dict[str, SearchSpace]:
    """The spaces of these names (built-in, the preset's, in config_dir), or of files by path.

    trainer: decides which parameters besides the schedule's a file may name.
    """
    files = _files("space", config_dir)
    options = SPACES | {arm.name: arm for arm in _arms(preset)}
    spaces = []
    for name in names:
        is_file = name.endswith(SPACE_FILES)
        path = Path(os.path.expanduser(name)) if is_file else files.get(name)
        if path is None:
            _check_known("space", name, [*options, *files])
        spaces.append(options[name] if path is None else load_space(path, trainer))
    by_name = {space.name: space for space in spaces}
    if not spaces or len(by_name) < len(spaces):
        wanted = "each may be named once" if spaces else "name at least one"
        raise ConfigError(f"space={show(names)}: {wanted}")
    return by_name


def _arms(preset: str) -> tuple[SearchSpace, ...]:
    """The preset's own arms; a preset of the user's has none."""
    return PRESETS[preset].arms if preset in PRESETS else ()


def _node(space: SearchSpace) -> dict[str, Any]:
    """A space in the configuration: its family and one overridable range per parameter."""
    params = dict.fromkeys((*space.ranges, *EXTRA_PARAMS))
    return {"family": space.family} | {name: RangeConfig() for name in params}


def _set_range(nodes: Mapping[str, dict[str, Any]], key: str, value: Any, trainer: str) -> None:
    """Note what was given for a space's parameter; one of the training's joins the space."""
    parts = key.split(".")
    if len(parts) != 4:
        names = {full: name for name, full in RECIPE_KEYS.items()}
        param = names.get(".".join(parts[2:-1]), "<param>")
        raise ConfigError(f"unknown key {key!r}; write spaces.<space>.{param}.<low|high|...>")
    _, space, param, attribute = parts
    if space not in nodes:
        raise ConfigError(f"{key}: space {space!r} is not searched (space={','.join(nodes)})")
    params = [name for name in nodes[space] if name != "family"]
    if param not in params and not is_of_training(param, trainer):
        params += [name for name in SEARCHED.get(trainer, ()) if name not in params]
        known = ", ".join(params)
        raise ConfigError(
            f"{key}: unknown parameter {param!r}{nearest(param, params)} (known: {known})"
        )
    if attribute not in RANGE_KEYS:
        raise ConfigError(f"{key}: unknown {attribute!r}{nearest(attribute, RANGE_KEYS)}")
    axis = nodes[space].setdefault(param, RangeConfig())
    setattr(axis, attribute, convert(key, range_key(param, attribute), value))
