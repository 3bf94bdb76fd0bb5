"""What does a manifest hold? Its fields with their types, so that an odd one is told at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from search_spaces.space import SearchSpace
from search_spaces.trial import Recipe

MAX_STATUS = 40  # letters


def odd_field(manifest: Mapping[str, Any]) -> str | None:
    """A sentence on the first field that is not what a run writes there; None where all are."""
    for name, (holds, what) in FIELDS.items():
        if name in manifest and not holds(manifest[name]):
            return f"{name} is {repr(manifest[name])[:60]} instead of {what}"
    for name, value in manifest.get("recipe", {}).items():
        if name in RECIPE_TYPES and not _fits(value, RECIPE_TYPES[name]):
            return f"recipe.{name} is {repr(value)[:60]} instead of {RECIPE_TYPES[name]}"
    return next(filter(None, map(_odd_space, _spaces(manifest))), None)


def _spaces(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    baseline = manifest.get("baseline")
    return [*manifest.get("spaces", []), *([baseline] if baseline is not None else [])]


def _odd_space(space: dict[str, Any]) -> str | None:
    try:
        made = SearchSpace.from_dict(space)
        if _is_text(made.name) and _is_text(made.family):
            return None
        return "a space has no name or family"
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        return f"space {repr(space.get('name'))[:60]}: {error}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_word(value: Any) -> bool:
    return _is_text(value) and value.isprintable() and 0 < len(value) <= MAX_STATUS


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < 2**63 and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int) and value >= 0


def _or_null(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


def _all(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """All values of a mapping."""
    return lambda value: isinstance(value, dict) and all(map(holds, value.values()))


def _list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(holds, value))


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if kind is float:
        return _is_number(value)
    if kind is int:
        return _is_number(value) and isinstance(value, int)
    return isinstance(value, dict if get_origin(kind) is Mapping else kind)


def _is_code(value: Any) -> bool:
    return _is_object(value) and _or_null(_all(_is_text))(value.get("files"))


def _is_change(value: Any) -> bool:
    files, code = (value.get("files"), value.get("code")) if _is_object(value) else (None, None)
    return _list_of(_is_text)(files) and _all(_is_text)(code) and _is_text(value.get("at"))


def _are_segments(value: Any) -> bool:
    """What is known of the segments of a table, by number."""
    return _all(_is_object)(value) and all(map(str.isdecimal, value))


def _is_config(value: Any) -> bool:
    """Its sections, where they are there, are mappings."""
    return _is_object(value) and all(_is_object(value.get(name, {})) for name in SECTIONS)


RECIPE_TYPES = get_type_hints(Recipe)
SECTIONS = ("search", "confirm", "dataset", "model", "optimizer", "spaces")  # of a configuration
OBJECT, TEXT, COUNT = (_is_object, "a mapping"), (_is_text, "text"), (_is_count, "a count")
# What is counted or gone on with, of runs of every version; a run may lack any of them. What is
# only shown (versions, times, ...) may be odd.
FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "schema_version": (lambda value: _is_count(value) and value > 0, "a whole number from 1"),
    "run_id": TEXT,
    "command": TEXT,
    "status": (_is_word, "a word"),
    "problem": (_or_null(_is_text), "text"),
    "seed": (lambda value: _is_number(value) and isinstance(value, int), "a whole number"),
    "scale": TEXT,
    "recipe": OBJECT,
    "spaces": (_list_of(_is_object), "a list of spaces"),
    "baseline": (_or_null(_is_object), "a space or null"),
    "delta_ref": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "num_test": (_or_null(_is_count), "a count"),
    "config": (_is_config, "a configuration"),
    "looked": (lambda value: isinstance(value, bool), "true or false"),
    "slots": (_all(_or_null(lambda v: _is_number(v) and v >= 0)), "a mapping of counts"),
    "code": (_is_code, "a mapping with files"),
    "code_changes": (_list_of(_is_change), "a list of mappings with files and code"),
    "model_based": COUNT,
    "chosen": (_all(_is_text), "a mapping of texts"),
    "shared_samples": COUNT,
    "repeated": COUNT,
    "hours_spent": (_list_of(_is_text), "a list of texts"),
    "segments": (_all(_are_segments), "a mapping of mappings by number"),
    "files": (_all(_is_text), "a mapping of texts"),
    "events": COUNT,
}
