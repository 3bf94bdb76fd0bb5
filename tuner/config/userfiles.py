"""What may a user's own file say? Loads YAML and Python spaces, refusing what could run code.

Hydra never sees these files: they are read here, checked, and handed on as plain dicts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from search_spaces import COMMON, FAMILIES, SPACES
from search_spaces.registry import is_import_path, load_module, nearest, unknown_name
from search_spaces.space import BASELINE, EXTRA_PARAMS, INTEGER_PARAMS, Range, SearchSpace

SPACE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
FIELDS = ("low", "high", "log", "step", "choices", "value")
MAX_BYTES = 1_000_000
MAX_ALIASES = 100  # nested aliases grow a small file without bound
FORBIDDEN = {
    "_target_": r"_target_",
    "a `hydra` key": r"^\s*['\"]?hydra(?:['\"]?\s*:|/)",
    "`@package`": r"#\s*@package",
    "an interpolation": r"\$\{",
    "a `defaults` list": r"^\s*['\"]?defaults['\"]?\s*:",
    "a key with ()": r"^\s*[^#\n]*\(\)",
    "a YAML tag": r"(?:^|[\s:\[,-])![!A-Za-z]",
}


class UserFileError(ValueError):
    """A user's file that cannot be taken; its text is one line and names the file."""


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, as plain dicts and lists.

    Raises:
        UserFileError: missing, too large, not YAML, not a mapping, or with a forbidden construct
            (`_target_`, `hydra` keys, `@package`, interpolations, tags).
    """
    text = _read(path)
    for name, pattern in FORBIDDEN.items():
        if re.search(pattern, text, re.MULTILINE):
            raise UserFileError(f"{path}: {name} is not allowed in a config file")
    if len(re.findall(r"(?:^|[\s:\[,-])\*\w", text)) > MAX_ALIASES:
        raise UserFileError(f"{path}: more than {MAX_ALIASES} YAML aliases")
    try:
        node = OmegaConf.to_container(OmegaConf.create(text))
    except Exception as error:  # yaml and OmegaConf each raise a hierarchy of their own
        line = " ".join(str(error).split())
        raise UserFileError(f"{path}: not readable as YAML: {line[:200]}") from None
    if not isinstance(node, dict) or not all(isinstance(key, str) for key in node):
        raise UserFileError(f"{path}: a mapping `key: value` was expected")
    return {str(key): value for key, value in node.items()}


def load_settings(path: Path) -> dict[str, Any]:
    """The keys a workload or preset file sets.

    Raises:
        UserFileError: as `load_yaml`; or it names code to import, which only the command line may.
    """
    node = load_yaml(path)
    for key in ("dataset", "model", "optimizer", "recipe", "trainable"):
        inner = node.get(key)
        name = inner.get("name", inner.get("family")) if isinstance(inner, dict) else inner
        if isinstance(name, str) and is_import_path(name):
            raise UserFileError(
                f"{path}: {key}: {name} would run code; name it on the command line instead"
            )
    return node


def load_space(path: Path) -> SearchSpace:
    """The space that a YAML file describes, or a Python file's `SPACE = SearchSpace(...)`.

    YAML: `family: <name>` and, by parameter, a value or a mapping of low, high, log, step,
    choices, value; parameters left out keep the family's default ranges. Python code runs only
    because the user named the file on the command line.

    Raises:
        UserFileError: the file cannot be read, or does not describe a space.
    """
    space = _python_space(path) if path.suffix == ".py" else _yaml_space(path)
    if not SPACE_NAME.fullmatch(space.name):
        raise UserFileError(f"{path}: a space's name holds letters, digits and _ only")
    if space.name in SPACES or space.name == BASELINE:
        raise UserFileError(f"{path}: {space.name!r} is a built-in name; choose another")
    return space


def _yaml_space(path: Path) -> SearchSpace:
    node = load_yaml(path)
    family = node.pop("family", None)
    if not isinstance(family, str):
        raise UserFileError(f"{path}: a space needs `family: <name>`")
    if family not in FAMILIES:
        raise UserFileError(f"{path}: {unknown_name('family', family, FAMILIES)}")
    optimizer = node.pop("optimizer", None)
    if optimizer is not None and (not isinstance(optimizer, str) or is_import_path(optimizer)):
        raise UserFileError(f"{path}: optimizer: name a built-in one")
    defaults = COMMON | FAMILIES[family].ranges
    extras = (*EXTRA_PARAMS, "factor") if family == "exp" else EXTRA_PARAMS
    known = {**defaults, **dict.fromkeys(extras)}
    ranges = dict(defaults)
    for name, value in node.items():
        if name not in known:
            raise UserFileError(f"{path}: unknown parameter {name!r}{nearest(name, known)}")
        try:
            absent = Range(value=0.0, integer=name in INTEGER_PARAMS)
            ranges[name] = _range(value, defaults.get(name, absent))
        except (TypeError, ValueError) as error:
            raise UserFileError(f"{path}: {name}: {error}") from None
    if "factor" in ranges:
        ranges.pop("end_ratio", None)
    if "lr0" in ranges:
        if "delta0" in node:
            raise UserFileError(f"{path}: lr0 takes the place of delta0; give one of them")
        ranges.pop("delta0", None)
    return SearchSpace(name=path.stem, family=family, ranges=ranges, optimizer=optimizer)


def _range(value: Any, default: Range) -> Range:
    fields = value if isinstance(value, dict) else {"value": value}
    for name in fields:
        if name not in FIELDS:
            raise ValueError(f"unknown {name!r}{nearest(str(name), FIELDS)}")
    if all(field is None for field in fields.values()):
        raise ValueError("give a value, choices, or low and high.")
    return default.replaced(fields)


def _python_space(path: Path) -> SearchSpace:
    _read(path)
    try:
        space = load_module(path).__dict__.get("SPACE")
    except (Exception, SystemExit) as error:
        line = " ".join(str(error).split())
        raise UserFileError(f"{path}: {type(error).__name__}: {line[:200]}") from None
    if not isinstance(space, SearchSpace):
        raise UserFileError(f"{path}: `SPACE = SearchSpace(...)` was expected")
    return space


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserFileError(f"{path}: larger than {MAX_BYTES:,} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserFileError(f"{path}: not UTF-8 text") from None
