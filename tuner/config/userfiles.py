"""What may a user's own file say? Loads YAML and Python spaces, refusing what could run code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from search_spaces import COMMON, FAMILIES, SPACES
from search_spaces.registry import (
    allow_import,
    is_import_path,
    load_module,
    nearest,
    unknown_name,
)
from search_spaces.space import (
    EXTRA_PARAMS,
    INTEGER_PARAMS,
    Range,
    SearchSpace,
    is_baseline,
)
from tuner.config.schema import (
    RANGE_KEYS,
    SEARCHED,
    ConfigError,
    convert,
    is_of_training,
    range_key,
    refusing,
)
from tuner.config.yamltext import read_yaml

SPACE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
MAX_BYTES = 100_000  # read in about a second


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, as plain dicts and lists.

    Raises:
        ConfigError: missing, too large, not YAML, not a mapping, or with an interpolation or tag.
    """
    text = _read(path)
    with refusing(f"{path}: "):
        node = read_yaml(text) or {}
    if any("${" in text for text in _texts(node)):
        raise ConfigError(f"{path}: an interpolation is not allowed in a config file")
    if not isinstance(node, dict) or not all(isinstance(key, str) for key in node):
        raise ConfigError(f"{path}: a mapping `key: value` was expected")
    return node


def load_space(path: Path, trainer: str = "network") -> SearchSpace:
    """The space that a YAML file describes, or a Python file's `SPACE = SearchSpace(...)`.

    YAML: `family: <name>` and, by parameter, a value or a mapping of low, high, log, step,
    choices, value; parameters left out keep the family's default ranges; those of the training
    as this trainer takes them. Python code runs only because the user named the file on the
    command line.
    """
    space = _python_space(path) if path.suffix == ".py" else _yaml_space(path, trainer)
    if not SPACE_NAME.fullmatch(space.name):
        raise ConfigError(f"{path}: a space's name holds letters, digits and _ only")
    if space.name in SPACES or is_baseline(space.name):
        raise ConfigError(f"{path}: {space.name!r} is a built-in name; choose another")
    return space


def _yaml_space(path: Path, trainer: str) -> SearchSpace:
    node = load_yaml(path)
    family = node.pop("family", None)
    if not isinstance(family, str):
        raise ConfigError(f"{path}: a space needs `family: <name>`")
    if family not in FAMILIES:
        raise ConfigError(f"{path}: {unknown_name('family', family, FAMILIES)}")
    optimizer = node.pop("optimizer", None)
    if optimizer is not None and (not isinstance(optimizer, str) or is_import_path(optimizer)):
        raise ConfigError(f"{path}: optimizer: name a built-in one")
    defaults = COMMON | FAMILIES[family].ranges
    extras = (*EXTRA_PARAMS, "factor") if family == "exp" else EXTRA_PARAMS
    known = (*defaults, *extras)
    training = tuple(name for name in node if name not in known and is_of_training(name, trainer))
    ranges = dict(defaults)
    for name, value in node.items():
        if name not in (*known, *training):
            near = nearest(name, (*known, *SEARCHED.get(trainer, ())))
            raise ConfigError(f"{path}: unknown parameter {name!r}{near}")
        absent = Range(value=0.0, integer=name in INTEGER_PARAMS)
        with refusing(f"{path}: {name}: ", (TypeError, ValueError)):
            ranges[name] = _range(name, value, defaults.get(name, absent))
    if "factor" in ranges:
        ranges.pop("end_ratio", None)
    if "lr0" in ranges:
        if "delta0" in node:
            raise ConfigError(f"{path}: lr0 takes the place of delta0; give one of them")
        ranges.pop("delta0", None)
    return SearchSpace(
        name=path.stem, family=family, ranges=ranges, optimizer=optimizer, training=training
    )


def _range(name: str, value: Any, default: Range) -> Range:
    fields = value if isinstance(value, dict) else {"value": value}
    for key in fields:
        if key not in RANGE_KEYS:
            raise ValueError(f"unknown {key!r}{nearest(str(key), RANGE_KEYS)}")
    fields = {key: convert(key, range_key(name, key), v) for key, v in fields.items()}
    if all(field is None for field in fields.values()):
        raise ValueError("give a value, choices, or low and high.")
    return default.replaced(fields, name)


def _python_space(path: Path) -> SearchSpace:
    _read(path)
    try:
        space = load_module(path).__dict__.get("SPACE")
    except (Exception, SystemExit) as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"{path}: {type(error).__name__}: {line[:200]}") from None
    if not isinstance(space, SearchSpace):
        raise ConfigError(f"{path}: `SPACE = SearchSpace(...)` was expected")
    allow_import(*names_of_code(space))
    return space


def names_of_code(space: SearchSpace) -> list[str]:
    """What an arm names to be imported: its curve, its optimizer."""
    return [name for name in (space.family, space.optimizer or "") if is_import_path(name)]


def _texts(node: Any) -> Iterator[str]:
    """Every text in it, keys too."""
    if isinstance(node, dict | list):
        for part in (*node, *node.values()) if isinstance(node, dict) else node:
            yield from _texts(part)
    elif isinstance(node, str):
        yield node


def _read(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # a pipe or device has no end
            raise ConfigError(f"{path}: not a file")
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_BYTES:,} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
