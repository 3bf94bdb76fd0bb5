"""What of a text is stored and shown: no secret, nothing that a terminal obeys."""

from __future__ import annotations

import json
import unicodedata

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from results.records.redaction import (
    TO_LOOK_AT,
    redact,
    redact_all,
    redact_word,
    redacted_error,
    visible,
    visible_all,
)
from search_spaces.records import MAX_ERROR_BYTES

CANARY = "c4n4ry-4711"
HELD = [
    f"http://me:{CANARY}@host:5000/path",
    f"postgresql+psycopg2://me:{CANARY}@db/runs",
    f"http://me:a@{CANARY}/b@host/",  # not encoded, as people type them
    f"http://me:a?{CANARY}@host/",
    f"http://me:it's{CANARY}@host/",
    f"s3://{CANARY}:{CANARY}@bucket/key?secret_key={CANARY}",
    f"https://bucket/file?X-Amz-Signature={CANARY}&x=1",
    f"https://host/?a=b#{CANARY}",
    f"AWS_SECRET_ACCESS_KEY={CANARY}",
    f"api_key='{CANARY}'",
    f"{{'password': '{CANARY}'}}",
    f'{{"access-token": "{CANARY}"}}',
    f"db_passwd = {CANARY}",
]


@pytest.mark.parametrize("text", HELD)
def test_a_secret_is_nowhere_in_what_is_left(text: str) -> None:
    for whole in (text, f"cannot reach {text}, so:\nfailed", f"error: {text}"):
        assert CANARY not in redact(whole)
        assert "***" in redact(whole)


@pytest.mark.parametrize(
    "text",
    [
        "KeyError: 'tokens'",
        "sorted(names, key=len)",
        "num_tokens=2048, max_tokens = 1e6",
        "http://host:5000/path of the tracker",
        "sqlite:////runs/mlflow.db",
        "trial_key 3f9c01, config_key=deadbeef",
        "space=poly spaces.poly.p.low=0.5 dataset.path=/data/me@home",
        "",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_what_is_secret_in_the_environment_is_secret_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    monkeypatch.setenv("KEY_OF_NOTHING", "poly")  # a word: too short to be one
    assert redact(f"401 for {CANARY}: poly") == "401 for ***: poly"
    manifest = {"problem": CANARY, "spaces": [{"name": "poly"}], CANARY: 1}
    assert redact_all(manifest) == {"problem": "***", "spaces": [{"name": "poly"}], "***": 1}


def test_settings_are_hidden_by_name_and_numbers_never() -> None:
    config = {"config": {"auth": {"token": CANARY}, "spaces": {"tokens": {"low": 3, "log": True}}}}
    assert redact_all(config) == {
        "config": {"auth": {"token": "***"}, "spaces": {"tokens": {"low": 3, "log": True}}}
    }
    # An arm, a file: names of the user's, whose values a resume reads.
    kept = {"chosen": {"monkey": "deadbeef"}, "code": {"files": {"tokenizer.py": "0123456789ab"}}}
    assert redact_all(kept) == kept


def test_words_of_a_command_line_are_hidden_by_their_keys() -> None:
    assert redact_word(f"my.secret={CANARY}") == "my.secret=***"
    assert redact_word("spaces.poly.key_dim.low=3") == "spaces.poly.key_dim.low=3"
    assert redact_word(f"tracking.uri=http://a:{CANARY}@h/") == "tracking.uri=http://***@h/"
    assert redact_word("trainable=tokens.py:train") == "trainable=tokens.py:train"


INVISIBLE = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x200B, 0x202E, 0x2066)]


@pytest.mark.parametrize("char", [c for c in INVISIBLE if c not in "\n\t"])
def test_what_a_terminal_obeys_is_written_out(char: str) -> None:
    assert visible(f"a{char}b") == f"a{char.encode('unicode_escape').decode()}b"
    assert visible_all({f"{char}": [char]}) == {visible(char): [visible(char)]}


def test_lines_are_kept_in_an_error_and_not_in_a_name() -> None:
    assert visible("a\r\nb\tc\n") == "a\nb\tc\n"
    assert visible("a\nb", in_a_line=True) == r"a\nb"


def test_every_letter_stays() -> None:
    letters = "".join(c for c in map(chr, range(0x3000)) if unicodedata.category(c)[0] in "LNPSZ")
    text = letters.replace("\u2028", "").replace("\u2029", "").replace("\u200b", "")
    assert visible(text) == text
    assert visible("\U0001f9d1\u65e5\u672c") == "\U0001f9d1\u65e5\u672c"


def test_arrow_looks_for_the_same() -> None:
    odd = [c for c in INVISIBLE]
    assert pc.all(pc.match_substring_regex(pa.array(odd), TO_LOOK_AT)).as_py()
    plain = pa.array(["poly", "\u00e4\u65e5", "cosine to 10 %", "$x"])
    assert not pc.any(pc.match_substring_regex(plain, TO_LOOK_AT)).as_py()


def test_a_lone_surrogate_can_be_stored() -> None:
    text = redacted_error("ValueError: \udce9")
    assert text == "ValueError: ?"
    assert json.dumps(text).encode("utf-8")


def test_a_megabyte_of_an_error_is_told_by_its_ends() -> None:
    text = redacted_error("first\n" + "x" * 1_000_000 + "\nValueError: last")
    assert (text[:5], text[-16:]) == ("first", "ValueError: last")
    assert len(text) <= MAX_ERROR_BYTES
