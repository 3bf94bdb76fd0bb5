"""Which code does a stored run name, and may it be imported? Only what is named again.

`search_spaces.registry` imports nothing that nobody has named in this process; here the user is
told so beforehand, with the word that allows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from search_spaces.registry import is_import_path
from search_spaces.space import SearchSpace
from tuner.config.compose import NAMES_OF_CODE
from tuner.config.schema import Config, ConfigError, show, value_of

# Fields of a recipe that may name code -> the key that names it; `model` also a user's training.
RECIPE_KEYS = {"dataset": "dataset.name", "model": "model.name", "optimizer": "optimizer.name"}
NO_NAMES = ("workload", "dataset_path", "data_fingerprint", "code_digest")  # nobody looks them up
REPEAT_SPACE = "its space=<file>"

MAX_WORD = 4096  # characters, as many as a path may have


def check_stored_names(
    stored: Config, manifest: Mapping[str, Any], given: Mapping[str, Any], of_files: set[str]
) -> None:
    """Raise ConfigError for the first name of code that is stored and was not given again.

    Args:
        given: values by key, from the command line. of_files: names of code in the space files
            that were named there.
    """
    for key, name in _stored_names(stored, manifest):
        if not is_import_path(name):
            continue
        if key == REPEAT_SPACE:
            is_given, word = name in (*of_files, given.get("recipe.family")), key
        else:
            is_given, word = given.get(key) == name, f"{key.removesuffix('.name')}={name}"
        if key not in (*NAMES_OF_CODE, REPEAT_SPACE):
            raise ConfigError(f"resume: {key}={show(name)} names code, which no run does there")
        if not is_given:
            whole = show(word, most=MAX_WORD)  # it is to be typed
            raise ConfigError(f"resume: this run imports {show(name)}; repeat {whole} to allow it")


def _stored_names(stored: Config, manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The key that could allow it, and the name, of everything that a run folder could name."""
    for key in NAMES_OF_CODE:
        yield key, value_of(stored, key) or ""
    recipe = manifest["recipe"]
    keys = RECIPE_KEYS | ({"model": "trainable"} if recipe.get("trainer") == "user" else {})
    for field, value in recipe.items():
        if field not in NO_NAMES:
            yield from ((keys.get(field, f"recipe.{field}"), name) for name in _texts(value))
    spaces = [*manifest["spaces"], *([manifest["baseline"]] if manifest["baseline"] else [])]
    for space in spaces:
        arm = SearchSpace.from_dict(space)
        if not all(isinstance(text, str) for text in (arm.name, arm.family, arm.optimizer or "")):
            raise TypeError(f"an arm's name, family and optimizer are texts, not {space!r}")
        yield from ((REPEAT_SPACE, name) for name in (arm.family, arm.optimizer or ""))


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value of a recipe, names of measurements included."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
