"""What did the user ask for? A command line becomes a `Config`, a plain dataclass.

No Hydra or OmegaConf object leaves this module. Values are checked in plan.py. Every mistake is a
`ConfigError` whose text is one line. Neither torch nor ray is imported here.
"""

from __future__ import annotations

import functools
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from search_spaces import SPACES
from search_spaces.registry import nearest
from search_spaces.space import EXTRA_PARAMS, SearchSpace
from tuner.config.presets import PRESETS, Preset
from tuner.config.schema import Config, ConfigError, RangeConfig
from tuner.config.userfiles import UserFileError, load_settings, load_space
from tuner.config.workloads import WORKLOADS

GROUPS = ("space", "workload", "preset")
# Shorthands for `<key>.name=...`.
NAMED = ("dataset", "model", "optimizer")
NOT_KEYS = ("user_spaces", "user_function")  # fields of Config
LISTS = ("measure", "track", "critical.epsilon")  # one value needs no brackets
NEVER_EMPTY = (
    *("measure", "track", "runs_dir", "resume", "name", "dataset.path", "cluster.address"),
    *("tracking.project", "tracking.entity", "tracking.uri"),
)


def compose(overrides: list[str], config_dir: str | None = None) -> Config:
    """The configuration that these command-line overrides describe.

    Args:
        overrides: `key=value` words as typed, without program name and options.
        config_dir: folder whose space/, workload/ and preset/ YAML files join the built-in ones.

    Raises:
        ConfigError: unknown key or name, wrong type, bad file.
    """
    presets = {name: preset.settings for name, preset in PRESETS.items()}
    groups: dict[str, dict[str, Any]] = {"workload": dict(WORKLOADS), "preset": presets}
    spaces = dict(SPACES)
    words = [re.sub(rf"^({'|'.join(NAMED)})=", r"\1.name=", word) for word in overrides]
    words = [re.sub(rf"^({'|'.join(LISTS)})=([\w.+-]+)$", r"\1=[\2]", word) for word in words]
    try:
        preset = _preset(words)
        spaces |= {arm.name: arm for arm in preset.arms}
        _add_user_files(groups, spaces, config_dir, words)
        words = _add_spaces_by_path(spaces, words)
    except UserFileError as error:
        raise ConfigError(str(error)) from None
    groups["space"] = {name: space_node(space) for name, space in spaces.items()}
    chosen = _check_words(words, groups, preset)
    _register(groups, chosen)
    config = _compose(words, chosen)
    config.user_spaces = {
        name: spaces[name] for name in config.space if spaces[name] is not SPACES.get(name)
    }
    return config


def _preset(words: list[str]) -> Preset:
    """The built-in preset that the words name; `none` for a user's own."""
    named = [word.partition("=")[2].strip("[]'\"") for word in words if word.startswith("preset=")]
    return PRESETS.get(named[-1] if named else "none", PRESETS["none"])


@functools.cache
def _store_schema() -> None:
    """Once: turning the dataclasses into nodes is a quarter of a composition's time."""
    ConfigStore.instance().store(name="config", node=Config)


def _register(groups: dict[str, dict[str, Any]], chosen: dict[str, list[str]]) -> None:
    """Tell Hydra of the chosen options alone: each costs it milliseconds."""
    store = ConfigStore.instance()
    _store_schema()
    for group, names in chosen.items():
        for name in names:
            package = f"spaces.{name}" if group == "space" else "_global_"
            store.store(group=group, name=name, node=groups[group][name], package=package)


def space_node(space: SearchSpace) -> dict[str, Any]:
    """A space as a config node: its family and one overridable range per parameter."""
    names = (*space.ranges, *(name for name in EXTRA_PARAMS if name not in space.ranges))
    return {"family": space.family} | {name: RangeConfig() for name in names}


def _add_user_files(
    groups: dict[str, dict[str, Any]],
    spaces: dict[str, SearchSpace],
    config_dir: str | None,
    words: list[str],
) -> None:
    """Load the files that the command line names; a broken one beside them does no harm."""
    if config_dir is None:
        return
    root = Path(config_dir)
    if not root.is_dir():
        raise ConfigError(f"--config-dir {config_dir!r} is not a folder")
    for word in words:
        group, _, value = word.partition("=")
        for path in sorted((root / group).glob("*.y*ml")) if group in GROUPS else []:
            if path.stem not in re.findall(r"[A-Za-z0-9_.-]+", value):
                continue
            if group == "space":
                spaces[path.stem] = load_space(path)
            else:
                groups[group][path.stem] = load_settings(path)


def _add_spaces_by_path(spaces: dict[str, SearchSpace], words: list[str]) -> list[str]:
    """Load spaces given as files by path; the words then name them."""

    def named(match: re.Match[str]) -> str:
        space = load_space(Path(match[0]))
        spaces[space.name] = space
        return space.name

    return [
        re.sub(r"[^\s,\[\]=]+\.(?:py|ya?ml)\b", named, word) if word.startswith("space=") else word
        for word in words
    ]


def known_keys(node: Any = Config, prefix: str = "") -> list[str]:
    """Every fixed key of the configuration, dotted."""
    keys = []
    for item in fields(node):
        key = f"{prefix}{item.name}"
        inner = item.default_factory if is_dataclass(item.default_factory) else None
        if item.name in ("defaults", "spaces", *NOT_KEYS):
            continue
        keys += known_keys(inner, f"{key}.") if inner is not None else [key]
    return keys


def _check_words(
    words: list[str], groups: dict[str, dict[str, Any]], preset: Preset
) -> dict[str, list[str]]:
    """Refuse unknown keys and names before Hydra does, with the nearest known one."""
    chosen = {
        "space": [arm.name for arm in preset.arms] or ["poly"],
        "workload": [
            "user" if any(w.startswith("trainable=") for w in words) else preset.workload
        ],
        "preset": ["none"],
    }
    parser = OverridesParser.create()
    for word in words:
        if word.startswith("hydra") or word.lstrip("+~").startswith("hydra"):
            raise ConfigError(f"{word!r}: keys of Hydra itself cannot be set")
        try:
            override = parser.parse_override(word)
        except (OverrideParseException, HydraException):
            raise ConfigError(f"cannot read {word!r}; write key=value") from None
        if word[0] in "+~":
            raise ConfigError(f"{word!r}: keys cannot be added or removed; write key=value")
        key, value = override.key_or_group, override.value()
        if value == "" and key in NEVER_EMPTY:
            raise ConfigError(f"{key}=: may not be empty")
        if isinstance(value, list) and any(isinstance(item, (list, dict)) for item in value):
            raise ConfigError(f"cannot read {word!r}; write a plain list")
        if override.is_sweep_override():
            listed = f"{key}=[{word.partition('=')[2]}]"
            raise ConfigError(f"{word!r}: write a list as {listed!r}, with quotes")
        if key in GROUPS:
            chosen[key] = _check_choice(key, value, groups[key])
        elif key.startswith("spaces."):
            continue
        elif key not in known_keys():
            raise ConfigError(f"unknown key {key!r}{nearest(key, known_keys())}")
    for word in words:
        if word.startswith("spaces."):
            _check_space_key(word.partition("=")[0], chosen["space"], groups["space"])
    return chosen


def _check_choice(group: str, value: Any, options: dict[str, Any]) -> list[str]:
    names = value if isinstance(value, list) else [value]
    for name in names:
        if name not in options:
            known = ", ".join(options)
            raise ConfigError(
                f"unknown {group} {str(name)!r}{nearest(str(name), options)} (known: {known})"
            )
    if not names or (group != "space" and len(names) != 1):
        raise ConfigError(f"{group}={value}: name {'at least one' if group == 'space' else 'one'}")
    if len(set(names)) < len(names):
        raise ConfigError(f"{group}={value}: each may be named once")
    return [str(name) for name in names]


def _check_space_key(key: str, chosen: list[str], spaces: dict[str, Any]) -> None:
    parts = key.split(".")
    if len(parts) != 4:
        raise ConfigError(f"unknown key {key!r}; write spaces.<space>.<param>.<low|high|...>")
    _, space, param, attribute = parts
    if space not in chosen:
        raise ConfigError(f"{key}: space {space!r} is not searched (space={','.join(chosen)})")
    params = [name for name in spaces[space] if name != "family"]
    if param not in params:
        known = ", ".join(params)
        raise ConfigError(
            f"{key}: unknown parameter {param!r}{nearest(param, params)} (known: {known})"
        )
    attributes = [f.name for f in fields(RangeConfig)]
    if attribute not in attributes:
        raise ConfigError(f"{key}: unknown {attribute!r}{nearest(attribute, attributes)}")


def _compose(words: list[str], chosen: dict[str, list[str]]) -> Config:
    words = [w for w in words if not w.startswith(("space=", "workload="))]
    words.append(f"space=[{','.join(chosen['space'])}]")
    words.append(f"workload={chosen['workload'][0]}")
    GlobalHydra.instance().clear()
    try:
        with initialize(config_path=None, version_base="1.3"):
            composed = hydra_compose(config_name="config", overrides=words)
        config = OmegaConf.to_object(composed)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error)) from None
    assert isinstance(config, Config)
    config.space = chosen["space"]
    config.workload, config.preset = chosen["workload"][0], chosen["preset"][0]
    return config


def _one_line(error: Exception) -> str:
    """Hydra's message and the key it concerns, in one line."""
    cause = error.__cause__ or error
    text = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    key = re.search(r"full_key: (\S+)", str(cause))
    if isinstance(cause, MissingMandatoryValue) and key:
        return f"{key[1]}: no value; this workload needs {key[1]}=..."
    return f"{key[1]}: {text}" if key else text
