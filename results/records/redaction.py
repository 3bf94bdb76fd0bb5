"""What of a text may be stored and shown? No secret, and nothing that a terminal would obey."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from search_spaces.records import error_text, plain_text

HIDDEN = "***"
SECRET_NAME = re.compile(r"secret|token|passw|key|credential", re.IGNORECASE)
MIN_SECRET = 8  # characters of an environment variable's value; shorter ones are words
# Between :// and @, and after ?: a user and password, and what is asked for.
URI = re.compile(r"(?<![A-Za-z0-9+.-])(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>[^\s\"<>]+)")
# In an error's text; `KeyError: 'x'` and `sort(key=f)` are none.
PAIR = re.compile(
    r"(?P<name>(?<![\w.-])[\w.-]*?(?:secret|token|passw(?:or)?d|credentials?|"
    r"(?:access|account|api|auth|private|secret|session)[_-]?key(?:[_-]?id)?))"
    r"(?P<is>['\"]?\s*=\s*['\"]?|['\"]\s*:\s*['\"])(?P<value>[^\s'\",;&]+)",
    re.IGNORECASE,
)
WORD = re.compile(r"(?P<name>[\w.-]+)=(?P<value>.+)", re.DOTALL)  # of a command line
NO_SECRET = re.compile(r"[-+\d.,e%_]*|true|false|null|none", re.IGNORECASE)
CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff"
INVISIBLE = re.compile(f"[{CONTROL}]")
IN_A_LINE = re.compile(f"[\t\n{CONTROL}]")
# The same for Arrow's engine, which knows no surrogates: Parquet holds none.
TO_LOOK_AT = (
    r"[\x00-\x1f\x7f\x{80}-\x{9f}\x{200b}-\x{200f}\x{2028}-\x{202e}\x{2060}-\x{2069}\x{feff}]"
)


def redact(text: str) -> str:
    """The text without passwords in URIs, pairs of a secret's name and value, and environment's.

    Of the environment every value is a secret whose variable is called so (SECRET_NAME).

    Example:
        >>> redact("cannot reach http://me:pw@host/path?sig=1")
        'cannot reach http://***@host/path?***'
    """
    return _redact(text, _secrets())


def redact_word(word: str) -> str:
    """A word of a command line, `key=value`, whose value is hidden where the key is a secret's."""
    match = WORD.fullmatch(word)
    if match and SECRET_NAME.search(match["name"]) and not NO_SECRET.fullmatch(match["value"]):
        return f"{match['name']}={HIDDEN}"
    return redact(word)


def redact_all(value: Any, *, by_name: bool = False) -> Any:
    """The same data, every text in it redacted.

    by_name: texts whose key is a secret's are hidden too; for settings, whose keys are ours.
    """
    return _redact_all(value, _secrets(), by_name)


def is_redacted(value: Any) -> bool:
    """True of a value that is not what was given, for it held a secret."""
    return HIDDEN in str(value)


def visible(text: str, *, in_a_line: bool = False) -> str:
    r"""The text with what no reader sees written out: escapes, bells, marks of direction.

    in_a_line: line breaks and tabs too; a name must not make lines of its own.

    Example:
        >>> print(visible("\x1b[2J\x07poly"))
        \x1b[2J\x07poly
    """
    text = text.replace("\r\n", "\n")
    pattern = IN_A_LINE if in_a_line else INVISIBLE
    return pattern.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def visible_all(value: Any) -> Any:
    """The same data, every text and name in it on one line and visible."""
    if isinstance(value, Mapping):
        return {visible_all(key): visible_all(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [visible_all(inner) for inner in value]
    return visible(value, in_a_line=True) if isinstance(value, str) else value


def redacted_error(text: str) -> str:
    """An error as it is stored and shown: see `error_text`; without secrets, and visible."""
    return error_text(visible(redact(plain_text(text))))


def _redact(text: str, secrets: list[str]) -> str:
    for value in secrets:
        text = text.replace(value, HIDDEN)
    return PAIR.sub(_hide_pair, URI.sub(_hide_in_uri, text))


def _redact_all(value: Any, secrets: list[str], by_name: bool) -> Any:
    if isinstance(value, Mapping):
        return {
            _redact(key, secrets) if isinstance(key, str) else key: HIDDEN
            if by_name and isinstance(inner, str) and SECRET_NAME.search(str(key))
            else _redact_all(inner, secrets, by_name or key == "config")
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redact_all(inner, secrets, by_name) for inner in value]
    return _redact(value, secrets) if isinstance(value, str) else value


def _secrets() -> list[str]:
    """Values of the environment that are nobody's business, the longest first."""
    values = {
        value
        for name, value in os.environ.items()
        if SECRET_NAME.search(name) and len(value) >= MIN_SECRET and not os.path.exists(value)
    }
    return sorted(values, key=len, reverse=True)


def _hide_in_uri(match: re.Match[str]) -> str:
    _, at, rest = match["rest"].rpartition("@")  # a password may hold anything, @ too
    place, question, _ = rest.partition("?")
    before, after = f"{HIDDEN}@" if at else "", f"?{HIDDEN}" if question else ""
    return f"{match['scheme']}{before}{place}{after}"


def _hide_pair(match: re.Match[str]) -> str:
    if NO_SECRET.fullmatch(match["value"]):
        return match[0]
    return f"{match['name']}{match['is']}{HIDDEN}"
