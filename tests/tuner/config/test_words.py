"""One pass from the words typed to values: quotes, lists, null, and each kind's mistakes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tuner.config import words as words_module
from tuner.config.compose import compose, restore
from tuner.config.schema import KEYS, ConfigError, convert, plain, value_of
from tuner.config.words import parse_words, shell_word, write_word
from tuner.config.yamltext import read_yaml, write_yaml
from tuner.run import main


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("name=abc", "abc"),
        ("name= abc ", "abc"),
        ("name=a b", "a b"),
        ("name=null", None),
        ("name=NULL", None),
        ("name=None", "None"),
        ("name='null'", "null"),
        ("name='x y'", "x y"),
        ('name="a,b"', "a,b"),
        ("name='[a,b]'", "[a,b]"),
        (r"name='it\'s'", "it's"),
        (r"name='a\b'", r"a\b"),
        (r"name='a\\'", "a\\"),
        ("name='two\nlines'", "two\nlines"),
        (r"name=a\,b", "a,b"),
        (r"name=a\=b", "a=b"),
        (r"name=\[x\]", "[x]"),
        (r"name=C:\x", r"C:\x"),
        ("name=a=b=c", "a=b=c"),
        ("name=k:v", "k:v"),
        ("name=a,b", "a,b"),
        ("name=", ""),
        ("name=''", ""),
        ("name=1e-3", "1e-3"),
        ("name=a#b", "a#b"),
        ("name=${oc.env:HOME}", "${oc.env:HOME}"),
        ("tracking.uri=http://x:1/y?z=1&b=2", "http://x:1/y?z=1&b=2"),
        ("space=./file.yaml", "./file.yaml"),
        ("space=[]", []),
        ("space=[ ]", []),
        ("space=[a,b]", ["a", "b"]),
        ("space=[ a , b ]", ["a", "b"]),
        ("space=[a b]", ["a b"]),
        ("space=['a,b',\"c\"]", ["a,b", "c"]),
        ("space=[a:b,c/d.yaml]", ["a:b", "c/d.yaml"]),
        ("measure='a,b'", "a,b"),
    ],
)
def test_a_word_says_text_null_or_a_list(word: str, value: Any) -> None:
    assert list(parse_words([word]).values()) == [value]


@pytest.mark.parametrize("text", ["[a", "[a,]", "[,a]", "[[a],b]", "[{x: 1}]", "[a]b", "[a,,b]"])
def test_what_is_no_plain_list_is_told_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^cannot read space=.*; write a plain list, 'space="):
        parse_words([f"space={text}"])


@pytest.mark.parametrize("text", ["'a", "'a''b'", "'a'b", '"', "{x: 1}", "{}"])
def test_what_is_no_text_is_told_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^cannot read name=.*; write text as name='text'$"):
        parse_words([f"name={text}"])


@given(st.text(st.characters(exclude_characters="\\")))
def test_quotes_carry_any_text(text: str) -> None:
    quoted = text.replace("'", "\\'")
    assert parse_words([f"name='{quoted}'"]) == {"name": text}


# Whatever a folder may be called, and more.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(st.sampled_from(["name", "space", "runs_dir"]), ANY_TEXT | st.none() | st.lists(ANY_TEXT))
@example("name", "null")
@example("name", r"it\'s\\")
@example("space", ["a,b", "null", " "])
@example("runs_dir", "~[x]\\\n")
def test_a_word_that_is_written_is_read_as_the_same_value(key: str, value: Any) -> None:
    assert parse_words([write_word(key, value)]) == {key: value}
    assert shlex.split(shell_word(key, value)) == [write_word(key, value)]


def test_plain_values_are_written_plainly() -> None:
    assert write_word("resume", "runs/it's [1]") == "resume=runs/it's [1]"
    assert write_word("space", ["poly", "a b.yaml"]) == "space=[poly,'a b.yaml']"
    assert shell_word("resume", "runs/a b") == "'resume=runs/a b'"


def refusal(word: str) -> str:
    """Why a word cannot be read; '' where it can."""
    try:
        parse_words([word])
    except ConfigError as error:
        return str(error)
    return ""


@given(st.text())
def test_any_word_is_read_or_refused_in_one_line(text: str) -> None:
    assert refusal(f"name={text}").isprintable()
    assert refusal(f"space=[{text}").isprintable()
    assert refusal(text).isprintable()


def test_every_word_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    times: dict[str, int] = {}
    parse = words_module._parse

    def counted(word: str) -> tuple[str, words_module.Value]:
        times[word] = times.get(word, 0) + 1
        return parse(word)

    monkeypatch.setattr(words_module, "_parse", counted)
    words = ["space=[poly,cosine]", "preset=none", "epochs=3", "spaces.poly.p.high=2"]
    assert main([*words, "--cfg"]) == 0
    assert times == dict.fromkeys(words, 1)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("epochs", "1_000", 1000),
        ("epochs", "+3", 3),
        ("lr", "1e-3", 0.001),
        ("lr", "1E5", 1e5),
        ("lr", ".5", 0.5),
        ("lr", "5.", 5.0),
        ("lr", "3", 3.0),
        ("report", "False", False),
        ("report", "yes", True),
        ("report", "0", False),
        ("baseline.kind", "False", "false"),
        ("baseline.kind", "yes", "true"),
        ("baseline.kind", False, "false"),
        ("baseline.kind", "tuned", "tuned"),
        ("name", "007", "007"),
        ("name", "1e5", "1e5"),
        ("critical.epsilon", ["0.5", "1"], [0.5, 1.0]),
        ("critical.epsilon", "0.5", [0.5]),
        ("noise.c2", None, None),
    ],
)
def test_the_key_decides_what_a_text_is(kind: str, text: Any, value: Any) -> None:
    read = convert(kind, KEYS[kind], text)
    assert (read, type(read)) == (value, type(value))


# Key, value, what is allowed, and the nearest name, in one line of our own words.
MISTAKES = [
    ("epochs=abc", "epochs=abc: allowed is a whole number, 1 to 100,000"),
    ("trials=1.5", "trials=1.5: allowed is a whole number, 1 to 1,000,000"),
    ("trials=1e3", "trials=1e3: allowed is a whole number, 1 to 1,000,000"),
    ("epochs=null", "epochs=null: allowed is a whole number, 1 to 100,000"),
    ("epochs=[3]", "epochs=[3]: allowed is a whole number, 1 to 100,000"),
    ("epochs=3,4", "epochs=3,4: allowed is a whole number, 1 to 100,000"),
    ("epochs=???", "epochs=???: allowed is a whole number, 1 to 100,000"),
    ("epochs=${trials}", "epochs=${trials}: allowed is a whole number, 1 to 100,000"),
    ("lr=abc", "lr=abc: allowed is a number, above 0, to 1e12"),
    ("baseline=maybe", "baseline.kind=maybe: allowed is true | false | tuned"),
    ("baseline=ture", "baseline.kind=ture: allowed is true | false | tuned; did you mean 'true'"),
    ("report=ture", "report=ture: allowed is true | false; did you mean 'true'?"),
    ("critical.epsilon=[0.5,x]", "critical.epsilon=[0.5,x]: allowed is list of numbers > 0"),
    ("spaces.poly.p.low=abc", "spaces.poly.p.low=abc: allowed is a number"),
    ("spaces.poly.p.choices=[1,b]", "spaces.poly.p.choices=[1,b]: allowed is list of numbers"),
    ("space=[poly", "cannot read space=[poly; write a plain list, 'space=[a,b]'"),
    (
        "search.sampler=tpee",
        "search.sampler=tpee: allowed is tpe | random | qmc | gp | grid; did you mean 'tpe'?",
    ),
    ("name=${oc.env:HOME}", "name: a run name must be 1 to 64 letters"),
    ("name=", "name=: may not be empty"),
    ("measure=", "measure=: may not be empty"),
]


@pytest.mark.parametrize(("word", "message"), MISTAKES, ids=[word for word, _ in MISTAKES])
def test_a_value_of_another_type_is_told_in_our_words(
    word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word, "dry_run=true"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


FILES = [
    ("lr: [0.1\n", "not readable as YAML: line 2 is ''; write `key: value`"),
    ("lr: 0.1\nepochs: 1: 2\n", "not readable as YAML: line 2 is 'epochs: 1: 2'; write"),
    ("lr: abc\n", "lr=abc: allowed is a number, above 0, to 1e12"),
    ("epochs: 1.5\n", "epochs=1.5: allowed is a whole number, 1 to 100,000"),
    ("batch: {intial: 3}\n", "unknown key 'batch.intial'; did you mean 'batch.initial'?"),
    ("batch: 3\n", "unknown key 'batch'"),
    ("epochs: {a: 1}\n", "epochs={'a': 1}: allowed is a whole number, 1 to 100,000"),
    ("resume: x\n", "resume: a workload cannot set it"),
    ("runs_dir: s3://b/x\n", "runs_dir: a workload cannot set one in a bucket"),
    ("lr: 1\nlr: 2\n", "duplicate key 'lr' in the mapping of line 1"),
    ("dataset.name: 'os:system'\n", "dataset.name: os:system would run code"),
    ("recipe: {family: 'os:system'}\n", "recipe.family: os:system would run code"),
    ("train: 'os:system'\n", "trainable: os:system would run code"),
]


@pytest.mark.parametrize(("text", "message"), FILES, ids=[text for text, _ in FILES])
def test_a_mistake_in_a_file_of_config_dir_names_file_and_key(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "workload" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        compose({"workload": "mine"}, str(tmp_path))
    assert str(caught.value).startswith(f"{path}: {message}")
    assert str(caught.value).isprintable()


def test_a_preset_file_may_name_workload_spaces_and_ranges(tmp_path: Path) -> None:
    path = tmp_path / "preset" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(
        "workload: synthetic\nspace: [poly, cosine]\nspaces: {poly: {p: {high: 2}}}\nepochs: 3\n"
    )
    config = compose({"preset": "mine", "epochs": 4}, str(tmp_path))
    assert (config.workload, config.space, config.epochs) == ("synthetic", ["poly", "cosine"], 4)
    assert config.spaces["poly"]["p"].high == 2.0


def test_a_configuration_comes_back_from_its_yaml() -> None:
    config = compose({"space": ["poly", "exp"], "lr": 1e-5, "name": "1e5", "track": "wandb"})
    again = restore(read_yaml(write_yaml(plain(config))))
    assert [value_of(again, key) for key in KEYS] == [value_of(config, key) for key in KEYS]
    assert plain(again) == plain(config)


TEXT = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" \n"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


@pytest.mark.slow
@given(JSON)
def test_what_is_written_as_yaml_is_read_as_the_same_data(data: Any) -> None:
    assert read_yaml(write_yaml(data)) == data


def test_yaml_reads_exponents_as_numbers_and_dates_as_text() -> None:
    assert read_yaml("a: 1e-3\nb: 2026-01-01\nc: 1.5e3\nd: e3\n") == {
        **{"a": 0.001, "b": "2026-01-01", "c": 1500.0, "d": "e3"}
    }
