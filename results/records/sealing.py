"""Is this still what was written? A checksum inside a file, or at the end of each of its lines.

A file's is the SHA-256 of the whole file with BLANK in the place of the checksum; a line's is the
CRC-32 of what stands before it. They find accidents, not forgers.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

PREFIX = b"sha256:"
BLANK = PREFIX + b"0" * 64
LINE = re.compile(rb'(\{.*, "n": (\d+)), "check": "([0-9a-f]{8})"\}')
CHECKS = ("n", "check")  # of a line
MARKS = (b', "n": ', b'"check": "')  # a line with neither was written before there were checks


def seal(data: bytes, start: int) -> bytes:
    """The data with its checksum in the place of the BLANK that begins at `start`."""
    end = start + len(BLANK)
    assert data[start:end] == BLANK, "a BLANK keeps the place of the checksum"
    return data[:start] + PREFIX + digest(data).encode() + data[end:]


def is_as_sealed(data: bytes, start: int) -> bool:
    """True where the checksum that begins at `start` is that of the data."""
    end = start + len(BLANK)
    return data[start:end] == PREFIX + digest(data[:start] + BLANK + data[end:]).encode()


def digest(data: bytes) -> str:
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sealed_line(fields: Mapping[str, Any], number: int) -> bytes:
    """A line of JSON with its number in its file (from 1) and its checksum."""
    text = json.dumps({**fields, "n": number}, default=str).encode()[:-1]
    return text + f', "check": "{zlib.crc32(text):08x}"}}\n'.encode()


def read_lines(data: bytes) -> tuple[list[dict[str, Any]], list[str]]:
    """The lines of JSON that are as they were written, and a sentence for each that is not.

    Lines without a checksum, as they were once written, may stand before those with one.
    """
    lines, problems = [], []
    has_checks, shift = False, 0  # shift: how far the numbers are from the places
    seen = set[bytes]()
    for place, line in enumerate(data.splitlines(), start=1):
        match = LINE.fullmatch(line)
        is_good = match is not None and f"{zlib.crc32(match[1]):08x}".encode() == match[3]
        is_old = not has_checks and not any(mark in line for mark in MARKS)
        fields = _object(line) if is_good or is_old else None
        has_checks = has_checks or not is_old
        if fields is None:
            problems.append(f"line {place} is not as it was written")
            continue
        if match is not None:
            if line in seen:
                problems.append(f"line {place} is there twice")
                shift -= 1
                continue
            seen.add(line)
            if int(match[2]) - place != shift:
                shift = int(match[2]) - place
                problems.append(f"line {place} was written as line {int(match[2])}")
        lines.append(fields)
    return lines, problems


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None
