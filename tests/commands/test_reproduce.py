"""A recorded training, trained again: the same bit for bit, or told where it parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import results
from results.records.store import RunStore
from search_spaces.registry import _import
from tests.commands.command import SMALL
from tests.fakes.tune_loop import Inline
from tuner.command import main as gradtune
from tuner.reproduce import main, reproduce

pytestmark = pytest.mark.slow  # trains

TRAINABLE = "tests.trainables.user.test_user_training:descend"
USERS = (
    *("dataset.train_examples=100", "lr=0.5", "batch.initial=5", "epochs=4", "trials=1"),
    *("confirm.seeds=1", "max_concurrent=1", "display=none", "name=users"),
)


@pytest.fixture
def run_dir(inline: Inline) -> Path:
    few = ("trials=1", "confirm.seeds=1", "display=none", "name=run")
    done = inline.run(*SMALL, *few)
    assert done.returncode == 0, done.stderr
    return inline.folder / "run"


def rows(run_dir: Path, role: str) -> dict[str, Any]:
    return next(row for row in results.load(run_dir).rows() if row["role"] == role)


def test_a_network_comes_out_the_same_and_one_number_off_is_found(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    for role in ("search", "confirm"):
        key = rows(run_dir, role)["trial_key"]
        assert main([str(run_dir), key[:9]]) == 0
        out = capsys.readouterr().out
        assert f"{role} 0 ({key}): 3 epochs and the outcome are the same bit for bit" in out
        assert "torch" not in out, "the versions are those that trained"
    assert files == {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}

    epoch = results.load(run_dir).epochs.to_pylist()[1]
    assert epoch["epoch"] == 2
    with RunStore.open(run_dir) as store:
        store.add_epochs([epoch | {"attempt": 9, "val_loss": epoch["val_loss"] + 1e-15}])
    found = reproduce(run_dir, epoch["trial_key"])
    assert [(d.epoch, d.column) for d in found.differences] == [(2, "val_loss")]
    assert gradtune(["reproduce", str(run_dir), epoch["trial_key"]]) == 1
    assert "not reproduced: poly search 0" in (told := capsys.readouterr().out)
    assert f"epoch 2 differs first (val_loss {epoch['val_loss'] + 1e-15!r} then, " in told

    with RunStore.open(run_dir) as store:
        versions = store.manifest["versions"] | {"torch": "1.0", "gone": "2.0"}
        store.update_manifest(versions=versions)
    told_apart = reproduce(run_dir, epoch["trial_key"]).surroundings
    assert told_apart["torch"][0] == "1.0"
    assert told_apart["gone"] == ("2.0", "not installed")


def test_a_run_may_lie_in_a_folder_with_an_equals_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    assert main(["a=b", "3f9c"]) == 2
    assert "a=b: no run there" in capsys.readouterr().err
    assert main(["trials=3", "3f9c"]) == 2
    assert "name a run and a trial" in capsys.readouterr().err


def test_a_training_of_ones_own_is_named_again_and_comes_out_the_same(
    inline: Inline, capsys: pytest.CaptureFixture[str]
) -> None:
    done = inline.run(f"trainable={TRAINABLE}", *USERS)
    assert done.returncode == 0, done.stderr
    folder = str(inline.folder / "users")
    key = rows(inline.folder / "users", "confirm")["trial_key"]
    assert main([folder, key]) == 2
    error = capsys.readouterr().err
    assert f"this run imports {TRAINABLE}; repeat trainable={TRAINABLE} to allow it" in error
    assert main([folder, key, f"trainable={TRAINABLE}"]) == 0
    assert "4 epochs and the outcome are the same bit for bit" in capsys.readouterr().out


MINE = """
def train(schedule, seed, report):
    for epoch in range(schedule.num_epochs):
        report(val_accuracy=(seed % 97 + epoch) / 200, test_accuracy=SCORE)
"""


def test_other_code_is_trained_with_only_when_told_and_named_as_the_reason(
    inline: Inline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine_of_a_test.py"
    path.write_text(MINE.replace("SCORE", "0.5"))
    words = (f"trainable={path}:train", *USERS)
    assert inline.run(*words).returncode == 0
    folder = str(inline.folder / "users")
    key = rows(inline.folder / "users", "confirm")["trial_key"]
    path.write_text(MINE.replace("SCORE", "0.25"))
    assert main([folder, key, words[0]]) == 2
    assert capsys.readouterr().err.endswith("code=accept trains with it anyway\n")
    _import.cache_clear()
    assert main([folder, key, words[0], "code=accept"]) == 1
    out = capsys.readouterr().out
    assert "the outcome differs first (test_accuracy 0.5 then, 0.25 now)" in out
    assert "  your code: as recorded then, changed (mine_of_a_test.py) now" in out


def test_code_that_the_records_alone_name_is_not_imported(
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A folder from elsewhere: its manifest names nothing foreign, the row of a trial does."""
    mark = tmp_path / "imported"
    (tmp_path / "of_a_stranger.py").write_text(f"open({str(mark)!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    row = rows(run_dir, "search")
    row.pop("chosen")
    for field in ("model", "dataset", "optimizer", "family"):
        config = json.loads(row["config_json"])
        holder = config if field == "family" else config["recipe"]
        holder[field] = "of_a_stranger:make"
        with RunStore.open(run_dir) as store:
            store.add_trial(row | {"attempt": 9, "config_json": json.dumps(config)})
        assert main([str(run_dir), row["trial_key"]]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"error: trial {row['trial_key']} of the records is not of this run")
        assert not mark.exists()


def test_bad_input_is_one_line_and_trains_nothing(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = rows(run_dir, "search")["trial_key"]
    for words, said in (
        ([], "name a run and a trial: python -m tuner.reproduce RUN TRIAL"),
        ([str(run_dir)], "name a run and a trial"),
        ([str(run_dir), "trials=3"], "name a run and a trial"),
        (["nowhere", key], "nowhere: no run there"),
        ([str(run_dir), "zzz"], "0 trials have a key that begins with 'zzz'."),
        ([str(run_dir), key, "epochs=9"], "epochs: a trial is trained as it was (allowed:"),
    ):
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"error: {said}")


def test_help_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert gradtune(["reproduce", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: gradtune reproduce RUN TRIAL")
