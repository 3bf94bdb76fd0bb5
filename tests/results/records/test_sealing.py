"""Checksums: whatever changes is noticed, and what was written before there were any is read."""

from __future__ import annotations

import hashlib
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.records.sealing import BLANK, is_as_sealed, read_lines, seal, sealed_line


def test_a_seal_is_the_sha256_of_the_file_with_a_blank_in_its_place() -> None:
    data = b"before " + BLANK + b" after"
    expected = hashlib.sha256(data).hexdigest().encode()
    assert seal(data, 7) == b"before sha256:" + expected + b" after"


@pytest.mark.slow
@given(before=st.binary(max_size=20), after=st.binary(max_size=20), bit=st.integers(min_value=0))
def test_every_flipped_bit_breaks_a_seal(before: bytes, after: bytes, bit: int) -> None:
    data = seal(before + BLANK + after, len(before))
    assert is_as_sealed(data, len(before))
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    assert not is_as_sealed(bytes(changed), len(before))


def test_a_line_holds_its_number_and_the_crc32_of_what_stands_before() -> None:
    line = sealed_line({"kind": "start"}, 3)
    text = b'{"kind": "start", "n": 3'
    assert line == text + f', "check": "{zlib.crc32(text):08x}"}}\n'.encode()
    assert json.loads(line)["kind"] == "start"


LINES = [sealed_line({"kind": kind}, number) for number, kind in enumerate("abcd", start=1)]
OLD = [b'{"kind": "a"}\n', b'{"kind": "b"}\n']


@pytest.mark.parametrize(
    ("lines", "kinds", "problems"),
    [
        (LINES, "abcd", []),
        (OLD, "ab", []),
        ([*OLD, *(sealed_line({"kind": k}, n) for n, k in ((3, "c"), (4, "d")))], "abcd", []),
        ([LINES[0], *LINES[2:]], "acd", ["line 2 was written as line 3"]),
        ([*LINES[:2], *LINES[1:]], "abcd", ["line 3 is there twice"]),
        (
            [LINES[1], LINES[0]],
            "ba",
            ["line 1 was written as line 2", "line 2 was written as line 1"],
        ),
        ([*LINES[:2], b'{"kind": "x"}\n'], "ab", ["line 3 is not as it was written"]),
        ([*LINES[:2], b'{"kind": '], "ab", ["line 3 is not as it was written"]),
        ([LINES[0].replace(b"a", b"b", 1), LINES[1]], "b", ["line 1 is not as it was written"]),
        ([b"[]\n"], "", ["line 1 is not as it was written"]),
        ([], "", []),
    ],
    ids=[
        *(
            "whole",
            "old",
            "old then new",
            "one missing",
            "one twice",
            "swapped",
            "foreign",
            "torn",
        ),
        *("altered", "no object", "empty"),
    ],
)
def test_lines_that_are_not_as_they_were_written_are_told(
    lines: list[bytes], kinds: str, problems: list[str]
) -> None:
    read, told = read_lines(b"".join(lines))
    assert ["".join(line["kind"] for line in read), told] == [kinds, problems]


def test_every_flipped_bit_of_a_line_is_told() -> None:
    data = b"".join(LINES)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        read, told = read_lines(bytes(changed))
        assert told, changed
        assert all(line["kind"] in "abcd" for line in read), changed
