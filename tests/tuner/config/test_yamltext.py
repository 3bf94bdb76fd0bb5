"""YAML of strangers: what is small may stand for much, and what looks plain may be something else.

The payloads are those of the published attacks on YAML readers (billion laughs, tags, merge keys).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tuner.config import yamltext
from tuner.config.compose import compose
from tuner.config.schema import ConfigError
from tuner.config.userfiles import MAX_BYTES, load_yaml
from tuner.config.yamltext import read_yaml

NINE = ",".join(["x"] * 9)
# 9^9 values out of 319 bytes: each letter stands for nine of the letter before.
BOMB = f"a: &a [{NINE}]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

REFUSED = {
    "bomb of lists": (BOMB, "holds more than 100,000 values"),
    "bomb of merges": (
        "a: &a {x: 1}\n" + "b: &b {<<: [" + "*a," * 400 + "]}\nc: {<<: [" + "*b," * 400 + "]}\n",
        "holds more than 100,000 values",
    ),
    "list in itself": ("a: &a [*a]", "holds more than 100,000 values"),
    "merged into itself": ("a: &a {<<: *a}", "holds more than 100,000 values"),
    "deep list": ("[" * 50_000, "line 1 is nested deeper than 20"),
    "deep mapping": ("{a: " * 20_000, "line 1 is nested deeper than 20"),
    "deep block": ("".join(" " * i + f"a{i}:\n" for i in range(400)), "nested deeper than 20"),
    "tag of Python": ("a: !!python/object/apply:os.system [ls]", "a YAML tag is not allowed"),
    "tag of one's own": ("- 1\n- !mine 2", "a YAML tag is not allowed in a config file (line 2)"),
    "harmless tag": ("a: !!str 1", "a YAML tag is not allowed"),
    "binary": ("a: !!binary aGk=", "a YAML tag is not allowed"),
    "tag of the whole": ("--- !!map\na: 1", "a YAML tag is not allowed"),
    "tag by a directive": ("%TAG !e! tag:e,2026:\n---\na: !e!x 1", "a YAML tag is not allowed"),
    "key twice": ("a: 1\na: 2", "duplicate key 'a' in the mapping of line 1"),
    "key twice by an escape": ('a: 1\n"\\x61": 2', "duplicate key 'a' in the mapping of line 1"),
    "alias of nothing": ("a: *b", "not readable as YAML"),
    "two documents": ("a: 1\n---\na: 2", "not readable as YAML"),
    "key that is a list": ("[a]: 1", "not readable as YAML"),
    "endless number": ("a: " + "9" * 90_000, "not readable as YAML"),
    "no text": ("a: \x00", "not readable as YAML"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_plain_data_is_refused_within_a_second(name: str) -> None:
    text, message = REFUSED[name]
    started = time.process_time()
    with pytest.raises(ConfigError) as caught:
        read_yaml(text)
    assert time.process_time() - started < 1
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


READ = [
    ("a: &x {low: 1}\nb: *x", {"a": {"low": 1}, "b": {"low": 1}}),
    ("a: &x {low: 1}\nb: {<<: *x, high: 2}", {"a": {"low": 1}, "b": {"low": 1, "high": 2}}),
    ("a: 1:30\nb: 1:30.5\nc: 1" + ":1" * 30_000, {"a": "1:30", "b": "1:30.5"}),  # not 90
    ("a: '!x'\nb: it's !important", {"a": "!x", "b": "it's !important"}),
    ("# ${HOME} !!x *a\na: 1", {"a": 1}),
]


@pytest.mark.parametrize(("text", "data"), READ, ids=[text[:20] for text, _ in READ])
def test_aliases_merges_and_marks_in_texts_and_comments_are_read(
    text: str, data: dict[str, Any]
) -> None:
    started = time.process_time()
    read = read_yaml(text)
    assert time.process_time() - started < 1
    assert {name: read[name] for name in data} == data


def test_no_more_values_than_were_counted_come_out() -> None:
    most = yamltext.MAX_VALUES
    seven = BOMB.splitlines()[:4]  # 9 + 9^2 + 9^3 + 9^4 leaves and their lists
    assert len(str(read_yaml("\n".join(seven)))) < 10 * most


FILES = [
    ('lr: "$\\x7boc.env:HOME}"\n', "an interpolation is not allowed"),
    ('"$\\u007bx}": 1\n', "an interpolation is not allowed"),
    ("batch: {initial: [${x}]}\n", "not readable as YAML"),
    ("batch: {initial: ['${x}']}\n", "an interpolation is not allowed"),
    ('runs_dir: "a\\0b"\n', "runs_dir='a\\x00b': is no UTF-8 text"),
    ('runs_dir: "\\ud800"\n', "runs_dir='\\ud800': is no UTF-8 text"),
    ("epochs: 0x" + "f" * 90_000, "epochs=a number of 360,000 bits: allowed is a whole number"),
    ("dataset: {train_examples: 0b1" + "0" * 9_000 + "}", "a number of 9,001 bits: allowed is"),
    ("hydra: {callbacks: {x: {_target_: os.system}}}\n", "unknown key 'hydra.callbacks"),
    (BOMB, "holds more than 100,000 values"),
    ("- 1\n", "a mapping `key: value` was expected"),
    ("1: 2\n", "a mapping `key: value` was expected"),
    ("# " + "x" * MAX_BYTES, "larger than 100,000 bytes"),
]


@pytest.mark.parametrize(("text", "message"), FILES, ids=[message for _, message in FILES])
def test_a_file_of_the_users_is_refused_in_one_line_that_names_it(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "workload" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        compose({"workload": "mine"}, str(tmp_path))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400 + len(str(path))


def test_fifty_megabytes_are_refused_without_reading_them(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    started = time.process_time()
    with pytest.raises(ConfigError, match="larger than 100,000 bytes"):
        load_yaml(path)
    assert time.process_time() - started < 1


def test_what_has_no_end_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("zero", "pipe", "folder"):
        with pytest.raises(ConfigError, match=f"{name}.yaml: not a file"):
            load_yaml(tmp_path / f"{name}.yaml")
