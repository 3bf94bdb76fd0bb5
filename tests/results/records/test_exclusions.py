"""A trial left out by hand: told everywhere, counted nowhere, and never forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import results
from results.__main__ import main
from results.records.exclusions import (
    EXCLUSIONS_NAME,
    exclude,
    include,
    merge_lines,
    read_exclusions,
)
from results.records.sealing import read_lines, sealed_line
from results.report.page import render_report
from tests.fakes.results import make_recipe, write_run

WHY = "the machine lost power"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", trials=2, seeds=4)


def confirm_row(run: results.Run, space: str, replicate: int) -> dict:
    rows = run.trials.to_pylist()
    (row,) = [
        r for r in rows if (r["space"], r["role"], r["replicate"]) == (space, "confirm", replicate)
    ]
    return row


def test_a_comparison_is_that_of_the_trials_that_are_left(run_dir: Path) -> None:
    run = results.load(run_dir)
    key = confirm_row(run, "poly", 2)["trial_key"]
    exclude(run_dir, key, WHY)
    after = results.load(run_dir)
    assert after.trials.num_rows == run.trials.num_rows, "the records stay"
    scores = [confirm_row(run, "poly", r)["test_accuracy"] for r in (0, 1, 3)]
    arms = {arm.name: arm for arm in after.compare().arms}
    assert arms["poly"].mean == pytest.approx(sum(scores) / 3, abs=1e-12)
    assert (arms["poly"].n, arms["cosine"].n) == (3, 4)
    assert after.compare().pairs["poly", "baseline"].n == 3


@pytest.mark.slow
def test_it_is_told_in_verdict_notes_and_report(run_dir: Path) -> None:
    exclude(run_dir, confirm_row(results.load(run_dir), "poly", 2)["trial_key"], WHY)
    run = results.load(run_dir)
    told = f"Excluded by hand: 1 trial, poly confirm 2 ({WHY})."
    assert run.compare().verdict.endswith(told)
    assert told in run.notes
    assert render_report(run).count(told) >= 2


@pytest.mark.slow
def test_picked_arms_and_comparable_runs_tell_what_of_theirs_is_left_out(tmp_path: Path) -> None:
    for name in ("x-aaaa", "x-bbbb", "x-cccc"):
        longer = {"recipe": make_recipe(epochs=8)} if name == "x-cccc" else {}
        run_dir = write_run(tmp_path / name, trials=1, seeds=4, **longer)
        for space in ("poly", "cosine"):
            key = confirm_row(results.load(run_dir), space, 1)["trial_key"]
            exclude(run_dir, key, f"{space} of {name}")
    told = results.load(tmp_path / "x-aaaa").pick(["poly", "baseline"]).compare().verdict
    assert told.endswith("Excluded by hand: 1 trial, poly confirm 1 (poly of x-aaaa).")
    verdict = results.load(tmp_path).comparable().compare().verdict
    assert "Excluded by hand: 4 trials, " in verdict
    assert all(f"({s} of x-{i})" in verdict for s in ("poly", "cosine") for i in ("aaaa", "bbbb"))
    assert "x-cccc" not in verdict


@pytest.mark.slow
def test_a_run_whose_trials_are_all_left_out_is_not_told_to_have_none(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_run(tmp_path / name, arms=("poly",), trials=1, seeds=2)
    for row in results.load(tmp_path / "c").trials.to_pylist():
        exclude(tmp_path / "c", row["trial_key"], WHY)
    notes = results.load(tmp_path).comparable().notes
    assert "run c is left out: all of its trials are excluded." in notes


@pytest.mark.slow
def test_what_a_trial_cost_is_counted_though_it_is_left_out(run_dir: Path) -> None:
    run = results.load(run_dir)
    before = run.compare()
    search = [r for r in run.rows() if r["space"] == "poly" and r["role"] == "search"]
    for row in (min(search, key=lambda r: r["objective"]), confirm_row(run, "poly", 2)):
        exclude(run_dir, row["trial_key"], WHY)
    after = results.load(run_dir).compare()
    assert not [warning for warning in after.warnings if "unequal samples" in warning]
    assert after.tables()["costs"] == before.tables()["costs"]
    samples = [[row[2] for row in r.overview().rows] for r in (run, results.load(run_dir))]
    assert samples[0] == samples[1]


def test_a_search_trial_left_out_is_chosen_no_more_but_stays_in_the_study(run_dir: Path) -> None:
    run = results.load(run_dir)
    search = [r for r in run.rows() if r["space"] == "poly" and r["role"] == "search"]
    exclude(run_dir, search[0]["trial_key"], "wrong data")
    after = results.load(run_dir)
    assert search[0]["trial_key"] not in {row["trial_key"] for row in after.rows()}
    # What a resumed search replays: the same asks.
    assert len(after.to_study("poly").trials) == len(run.to_study("poly").trials)
    assert len(after.search_rows()) == len(run.search_rows())


def test_undoing_brings_everything_back_and_both_lines_stay(run_dir: Path) -> None:
    before = results.load(run_dir)
    key = confirm_row(before, "poly", 2)["trial_key"]
    exclude(run_dir, key, WHY)
    include(run_dir, key)
    after = results.load(run_dir)
    assert after.compare().verdict == before.compare().verdict
    assert after.notes == before.notes
    lines = [json.loads(line) for line in (run_dir / EXCLUSIONS_NAME).read_text().splitlines()]
    assert [(line["trial_key"], line["why"]) for line in lines] == [(key, WHY), (key, None)]
    exclude(run_dir, key, "again")
    assert read_exclusions(run_dir) == {key: "again"}


@pytest.mark.slow
def test_the_command_leaves_out_and_takes_back(run_dir: Path, capsys) -> None:
    key = confirm_row(results.load(run_dir), "cosine", 0)["trial_key"]
    assert main(["exclude", str(run_dir), key[:10], f"why={WHY}"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"excluded: cosine confirm 0, {key}\n")
    assert f"cosine confirm 0 ({WHY})." in out
    assert main(["exclude", str(run_dir), key, "undo=true"]) == 0
    assert capsys.readouterr().out.startswith("taken back: cosine confirm 0, ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["KEY"], "why=: say in one line (up to 300 letters) why it is left out."),
        (["KEY", "why= "], "why=: say in one line"),
        (["KEY", "why=a\nb"], "why=: say in one line"),
        (["zzz", "why=x"], "0 trials have a key that begins with 'zzz'."),
        (["", "why=x"], "name a trial by its key or the beginning of it, such as "),
        (["KEY", "undo=true"], "undo=true: trial "),
        (["KEY", "because=x"], "unknown key 'because' (known: why, undo)"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    run_dir: Path, capsys, words: list[str], said: str
) -> None:
    key = confirm_row(results.load(run_dir), "poly", 0)["trial_key"]
    assert main(["exclude", str(run_dir), *(key if w == "KEY" else w for w in words)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: {said}")
    assert not (run_dir / EXCLUSIONS_NAME).exists()


def test_a_trial_is_left_out_once(run_dir: Path, capsys) -> None:
    key = confirm_row(results.load(run_dir), "poly", 0)["trial_key"]
    assert main(["exclude", str(run_dir), key, f"why={WHY}"]) == 0
    assert main(["exclude", str(run_dir), key, "why=other"]) == 2
    assert f"is excluded already: {WHY}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("left", [None, 0, 1])
def test_lines_that_are_gone_are_missed_and_come_back(run_dir: Path, left: int | None) -> None:
    keys = [row["trial_key"] for row in results.load(run_dir).trials.to_pylist()][:2]
    for key in keys:
        exclude(run_dir, key, "warm")
    path = run_dir / EXCLUSIONS_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    if left is None:
        path.unlink()
    else:
        path.write_bytes(b"".join(lines[:left]))
    (problem,) = results.verify(run_dir)
    assert f"{2 - (left or 0)} of its 2 lines are missing" in problem
    assert any("lines are missing" in note for note in results.load(run_dir).notes)
    results.repair(run_dir)
    assert results.verify(run_dir) == []
    assert read_exclusions(run_dir) == dict.fromkeys(keys, "warm")


def test_a_damaged_file_is_told_and_never_taken_as_nothing(run_dir: Path, capsys) -> None:
    (run_dir / EXCLUSIONS_NAME).write_text('{"trial_key": ')
    assert any("exclusions.jsonl was skipped" in note for note in results.load(run_dir).notes)
    assert any("exclusions.jsonl was skipped" in problem for problem in results.verify(run_dir))
    key = confirm_row(results.load(run_dir), "poly", 0)["trial_key"]
    assert main(["exclude", str(run_dir), key, "why=x"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def lines_of(*lines: tuple[int, str]) -> bytes:
    """A file of these: second of the day, and why."""
    return b"".join(
        sealed_line({"time": f"2026-01-01T00:00:{second:02d}+00:00", "why": why}, number)
        for number, (second, why) in enumerate(lines, start=1)
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "both"),
    [
        ("", "", ""),
        ("a1", "", "a1"),
        ("", "a1", "a1"),
        ("a1 b2", "a1 c3", "a1 b2 c3"),
        ("a1 c3", "a1 b2", "a1 b2 c3"),
        ("a1 b2 c3", "a1 c3", "a1 b2 c3"),
        # Of a clock that was wrong: whoever wrote b knew a, and it stays the later one.
        ("a9 b2", "a9", "a9 b2"),
        ("a9 b2", "c3", "c3 a9 b2"),
    ],
)
def test_lines_of_two_files_are_all_there_once(ours: str, theirs: str, both: str) -> None:
    as_file = lambda text: lines_of(*((int(w[1:]), w[0]) for w in text.split()))  # noqa: E731
    assert merge_lines(as_file(ours), as_file(theirs)) == as_file(both)


def test_of_damaged_lines_the_good_ones_are_taken() -> None:
    good = lines_of((1, "a"), (2, "b"))
    for ours, theirs in ((good, good[:-9]), (good[:-9], good), (good, b"\xff")):
        assert merge_lines(ours, theirs) == good
    merged = merge_lines(good[:-9], lines_of((3, "c")) + b"torn")
    assert ([line["why"] for line in read_lines(merged)[0]], read_lines(merged)[1]) == (
        ["a", "c"],
        [],
    )
