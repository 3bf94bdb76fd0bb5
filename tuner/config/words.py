"""What does a command line say? Its words, each read once, become keys and values.

A value is text, null, or a [list, of, texts]; quotes protect what would be read otherwise. Which
text is a number is up to the key (schema.py). Nothing in a value is looked up or executed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from tuner.config.schema import KEYS, ConfigError, show

Value = str | list[str] | None
QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
ITEM = rf"""\s*(?:{QUOTED})\s*|(?:[^,'"\[\]{{}}\\]|\\.)+"""
PLAIN = re.compile(r"[\w./:~@%+-]+")  # an item that needs no quotes
LIST = re.compile(rf"\[(?:(?:{ITEM})(?:,(?:{ITEM}))*)?\]", re.DOTALL)


def parse_words(words: Sequence[str]) -> dict[str, Value]:
    """Keys and values of these `key=value` words; the last of two with one key counts."""
    return dict(map(_parse, words))


def _parse(word: str) -> tuple[str, Value]:
    if word[:1] in ("+", "~"):
        raise ConfigError(f"{word!r}: keys cannot be added or removed; write key=value")
    key, equals, text = word.partition("=")
    if not equals or not key or not key.isprintable():
        raise ConfigError(f"cannot read {word!r}; write key=value")
    return key, _value(key, text.strip())


def _value(key: str, text: str) -> Value:
    if text.startswith("["):
        return _items(key, text)
    if text[:1] in ("'", '"', "{") and not _is_quoted(text):
        raise ConfigError(f"cannot read {key}={show(text)}; write text as {key}='text'")
    if "," in text and _is_list(key) and not _is_quoted(text):
        raise ConfigError(
            f"{key}={show(text)}: write a list as '{key}=[{show(text)}]', with quotes"
        )
    return None if text.lower() == "null" else _unquoted(text)


def _items(key: str, text: str) -> list[str]:
    """The texts of a list."""
    inner = text[1:-1]
    items = [_unquoted(item[0].strip()) for item in re.finditer(ITEM, inner, re.DOTALL)]
    if not LIST.fullmatch(text) or (inner.strip() and not all(items)):
        raise ConfigError(f"cannot read {key}={show(text)}; write a plain list, '{key}=[a,b]'")
    return items if inner.strip() else []


def _is_list(key: str) -> bool:
    known = KEYS.get(key)
    return key.endswith(".choices") or (known is not None and known.kind.startswith("list"))


def _is_quoted(text: str) -> bool:
    return re.fullmatch(QUOTED, text, re.DOTALL) is not None


def _unquoted(text: str) -> str:
    r"""Without quotes; a backslash protects a quote in them, elsewhere commas and brackets."""
    if not _is_quoted(text):
        return re.sub(r"\\([,=\[\]{}():\\ ])", r"\1", text)
    quote = text[0]
    return re.sub(rf"(\\+)({quote}|\Z)", lambda m: m[1][: len(m[1]) // 2] + m[2], text[1:-1])


def write_word(key: str, value: Value) -> str:
    """The word that `parse_words` reads as this value of this key; a shell needs quotes besides.

    Example: `name=a b`, `space=[poly,'two words, and a comma.yaml']`, `name='null'`.
    """
    if isinstance(value, list):
        items = (item if PLAIN.fullmatch(item) else _quoted(item) for item in value)
        return f"{key}=[{','.join(items)}]"
    word = f"{key}={'null' if value is None else value}"
    try:
        return word if parse_words([word]) == {key: value} else f"{key}={_quoted(str(value))}"
    except ConfigError:
        return f"{key}={_quoted(str(value))}"


def _quoted(text: str) -> str:
    """The text in quotes: a backslash before one protects it, and is itself doubled there."""
    inner = re.sub(r"(\\*)('|\Z)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), text)
    return f"'{inner}'"


def shell_word(key: str, value: Value) -> str:
    """As `write_word`, ready to be pasted into a shell."""
    return shlex.quote(write_word(key, value))
