"""How are the words of `python -m results` read? key=value and --key value are the same."""

from __future__ import annotations

import argparse
import csv
import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from search_spaces.registry import nearest

BAD_INPUT = 2
WORD = re.compile(r"([a-z][a-z_.]*)=(.*)", re.DOTALL)
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and who knows its options.

    Attributes:
        keys: of its options, as in key=value.
        valued: its options that take a value, as in --key value.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.keys: list[str] = []
        self.valued: list[str] = []
        super().__init__(*args, **kwargs)

    def add_argument(self, *names: str, **kwargs: Any) -> argparse.Action:
        """As argparse does."""
        self.keys += [n[2:].replace("-", "_") for n in names if n.startswith("--")]
        action = super().add_argument(*names, **kwargs)
        self.valued += [] if action.nargs == 0 else action.option_strings
        return action

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave with code 2."""
        self.exit(BAD_INPUT, f"error: {' '.join(message.split())}\n")


def as_options(words: Sequence[str], parser: Parser) -> list[str]:
    """The words with each key=value as an option.

    The value after a --key stays as it is, and so does an unknown key that names a file.

    Raises:
        ValueError: no such key.
    """
    options, keys, is_value = [], parser.keys, False
    for word in words:
        match = None if is_value else WORD.fullmatch(word)
        # As argparse takes it: also the beginning of an option.
        is_value = word.startswith("--") and any(o.startswith(word) for o in parser.valued)
        if match is not None and match[1] in keys:
            # No shell replaces a ~ after an equals sign.
            value = os.path.expanduser(match[2]) if match[1] == "out" else match[2]
            options.append(f"--{match[1].replace('_', '-')}={value}")
        elif match is None or os.path.lexists(word):
            options.append(word)
        else:
            known = ", ".join(key for key in keys if key != "help")
            raise ValueError(f"unknown key {match[1]!r}{nearest(match[1], keys)} (known: {known})")
    return options


def number_of(key: str, text: str | None) -> float | None:
    """The finite number of this key; None where it was not given."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{key}={text}: must be a number.")
    return number


def truth_of(key: str, text: str | None) -> bool | None:
    """True or false; None where the key was not given."""
    if text is None:
        return None
    if text.lower() not in (*TRUE, *FALSE):
        raise ValueError(f"{key}={text}: must be true or false.")
    return text.lower() in TRUE


def names_of(key: str, text: str | None) -> list[str] | None:
    """The names of a list, [a,b] or ['a, b',c]; None where the key was not given."""
    if text is None:
        return None
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    names = next(csv.reader([inner], quotechar="'", skipinitialspace=True), [])
    if not names or not all(names):
        raise ValueError(f"{key}={text}: write a list of names, '{key}=[a,b]'.")
    return list(dict.fromkeys(name.strip() for name in names))


def kinds_of(flag: str, text: str | None, known: Sequence[str]) -> tuple[str, ...]:
    """The kinds of a comma-separated option, each once.

    Raises:
        ValueError: an unknown or empty kind.
    """
    if text is None:
        return ()
    kinds = tuple(dict.fromkeys(kind.strip() for kind in text.split(",")))
    for kind in kinds:
        if kind not in known:
            raise ValueError(f"{flag} takes {', '.join(known)}, but got {kind!r}.")
    return kinds


def typed(words: Sequence[str], given: Mapping[str, Any]) -> str:
    """The command line of these words and keys; a key that is None was not given.

    Example:
        >>> typed(["judge", "my logs.csv"], {"arms": ["a", "b,c"], "paired": False, "at": None})
        "judge 'my logs.csv' 'arms=[a,'\"'\"'b,c'\"'\"']' paired=false"
    """
    keys = [f"{key}={_as_typed(value)}" for key, value in given.items() if value is not None]
    return shlex.join([*words, *keys])


def _as_typed(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(_in_list(name) for name in value)}]"
    is_short = isinstance(value, float) and float(f"{value:g}") == value
    return f"{value:g}" if is_short else str(value)


def _in_list(name: str) -> str:
    """As `names_of` reads it."""
    return f"'{name}'" if "," in name else name
