"""The paragraph for a pull request or a paper: true of every kind of run, nothing guessed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import results
from results.__main__ import main
from results.arms.paragraph import Paragraph
from results.records.events import read_commands
from results.records.store import RunStore
from search_spaces.trial import Recipe, derive_seed
from tests.fakes.results import (
    NUM_TEST_IMAGES,
    edit_manifest,
    make_recipe,
    make_trial,
    write_run,
    write_trial,
)

SEEDS, TRIALS = 3, 4
OLD_RUNS = Path("tests/data/runs")


def tell(run_dir: Path | list[Path]) -> str:
    return results.load(run_dir).paragraph().text()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run", trials=TRIALS, seeds=SEEDS)


def test_it_tells_arms_ranges_training_tuning_result_and_n(run_dir: Path) -> None:
    text = tell(run_dir)
    space = results.load(run_dir).spaces["cosine"]
    ends = space.free["delta0"]
    assert f"cosine, searched over delta0 from {ends.low:.4g} to {ends.high:.4g}" in text
    assert "the default (cosine from lr 0.05, not tuned)" in text
    assert (
        "Training: mlp (width 32) on digits, 6 epochs of 1,200 samples, "
        f"{NUM_TEST_IMAGES} samples to test, first batch 32, sgd with momentum 0.9, "
        "weight decay 0.0005, fp32, trained on cpu." in text
    )
    samples, seconds = TRIALS * 6 * 1200, TRIALS * 6 * 0.5  # an epoch of the fake takes 0.5 s
    assert f"Tuning: {TRIALS} configs an arm" in text
    assert f"samples: {samples:,} an arm; time: {seconds:.1f} s an arm." in text
    assert f"({SEEDS} seeds an arm, 7,200 samples a training)" in text


def test_it_holds_the_verdict_and_names_interval_and_test(run_dir: Path) -> None:
    text, verdict = tell(run_dir), results.load(run_dir).compare().verdict
    assert verdict.replace("your default", "the default")[1:] in text
    assert "Intervals: 95% t-intervals of differences paired by seed" in text
    assert "claims rest on paired t-tests, adjusted by Holm" in text
    assert "your" not in text


def test_every_sentence_begins_like_one_and_ends_with_a_full_stop(run_dir: Path) -> None:
    *sentences, last = results.load(run_dir).paragraph().sentences
    names = ("poly", "cosine")
    assert all(s.endswith(".") and (s[0].isupper() or s.startswith(names)) for s in sentences)
    assert last.endswith(".")


def test_what_was_typed_ends_it_and_resumes_that_changed_something(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", trials=1, seeds=2)
    assert results.load(run_dir).paragraph().commands == ()
    edit_manifest(run_dir, command="python -m tuner.run space=poly")
    assert results.load(run_dir).paragraph().commands == ("python -m tuner.run space=poly",)
    commands = [
        "python -m tuner.run space=poly trials=4",
        "python -m tuner.run resume=runs/a display=plain",
        "python -m tuner.run resume=runs/a trials=+10",
        "python -m tuner.run resume=runs/a trainable=mine:train",
    ]
    lines = [json.dumps({"kind": "start", "command": command}) for command in commands]
    lines += [json.dumps({"kind": "end", "command": "no"}), '{"kind": "start", "comm', "[]"]
    (run_dir / "events.jsonl").write_text("\n".join(lines))
    assert read_commands(run_dir) == [commands[0], commands[2]]
    assert results.load(run_dir).paragraph().text().splitlines()[1:] == [
        f"  {commands[0]}",
        f"  {commands[2]}",
    ]


def test_one_arm_without_a_default_has_nothing_to_compare(tmp_path: Path) -> None:
    text = tell(write_run(tmp_path / "run", arms=("poly",), baseline=False, trials=2, seeds=2))
    assert text.startswith("Schedule: poly, searched over delta0")
    assert "Tuning: 2 configs" in text
    assert "an arm" not in text
    assert "It was compared with no other schedule." in text
    assert "Intervals" not in text
    assert "default" not in text


def test_points_of_a_grid_were_not_searched(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", {}, "") as store:
        for p in (0.5, 0.9, 2.0):
            for replicate in range(2):
                trial = make_trial("poly", {"p": p}, role="confirm", replicate=replicate)
                seed = derive_seed(0, "confirm", replicate)
                trial = replace(trial, space=f"poly p={p:g}", seed=seed)
                write_trial(store, trial, accuracy=0.9 - p / 100 + replicate / 50 * p)
    text = tell(tmp_path / "run")
    assert "poly p=0.5, poly p=0.9, poly p=2 (one config each, not searched)." in text
    assert "No arm was searched." in text
    assert "Tuning" not in text
    assert "p=0.5 (p=" not in text


def test_of_a_training_of_the_users_own_only_what_is_known_is_told(tmp_path: Path) -> None:
    recipe: Recipe = make_recipe(trainer="user", model="mine:train", dataset="none", width=8)
    run_dir = write_run(tmp_path / "run", recipe=recipe, trials=1, seeds=2)
    text = tell(run_dir)
    assert (
        "Training: mine:train, 6 epochs of 1,200 samples, first batch 32, trained on cpu." in text
    )
    for word in ("sgd", "momentum", "weight decay", "fp32", "to test", "width", "none"):
        assert word not in text


def test_what_is_searched_with_the_schedule_is_no_fact_of_the_training(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", {}, "") as store:
        for decay in (1e-4, 1e-2):
            trial = make_trial(params={"weight_decay": decay})
            write_trial(store, replace(trial, training=("weight_decay",)))
    text = tell(tmp_path / "run")
    assert "sgd with momentum 0.9, fp32, trained on cpu." in text


def test_losses_keep_their_unit(tmp_path: Path) -> None:
    recipe = make_recipe(objective="val_loss", goal="min")
    text = tell(write_run(tmp_path / "run", recipe=recipe, trials=2, seeds=3))
    assert "chosen by validation loss" in text
    assert "Test loss, mean +- standard deviation" in text
    assert "%" not in text.replace("95%", "")


def test_what_did_not_end_well_is_counted(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", {}, "") as store:
        for p, status in ((0.5, "completed"), (0.9, "diverged"), (2.0, "failed")):
            write_trial(store, make_trial(params={"p": p}), status=status)
    assert "Of 3 trainings 1 completed, 1 diverged, 1 failed." in tell(tmp_path / "run")


def test_cautions_and_budgets_are_told(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", trials=2, seeds=2)
    config = {
        "search": {"sampler": "tpe", "fidelity": "squeezed", "hours": 0.5},
        "confirm": {"top_k": 3},
    }
    versions = {"gradtune": "0.1.0", "python": "3.11.7", "torch": "2.11.0"}
    edit_manifest(
        run_dir,
        config=config,
        versions=versions,
        git={"sha": 40 * "a", "dirty": 1},
        slots={"gpus_per_trial": 0.5, "cpus_per_trial": 1, "max_concurrent": 1},
    )
    text = tell(run_dir)
    assert "tpe sampler, short complete trainings first (squeezed schedules), budget 0.5" in text
    hours = 2 * 6 * 0.5 / 3600 * 0.5  # configs, epochs, seconds, GPUs
    assert hours < 0.001
    assert "time: <0.001 GPU hours an arm." in text
    assert "chosen by validation accuracy (the best 3 on seeds of their own)" in text
    assert "Note: only 2 paired seeds" in text
    assert "GradTune 0.1.0 (git aaaaaaaaaa with changes), python 3.11.7, torch 2.11.0." in text


def test_what_was_excluded_or_picked_is_told(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", trials=2, seeds=3)
    run = results.load(run_dir)
    assert (
        "Note: 2 of 3 arms were picked by name" in run.pick(["poly", "cosine"]).paragraph().text()
    )
    key = next(row["trial_key"] for row in run.rows() if row["role"] == "confirm")
    assert main(["exclude", str(run_dir), key, "why=power cut"]) == 0
    assert "Excluded by hand: 1 trial, " in tell(run_dir)
    assert "power cut" in tell(run_dir)


def test_several_runs_are_one_paragraph(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", arms=("poly",), trials=2, seeds=3),
        write_run(tmp_path / "b", arms=("cosine",), trials=3, seeds=3, baseline=False),
    ]
    for run_dir in runs:
        edit_manifest(run_dir, command=f"python -m tuner.run name={run_dir.name}")
    paragraph = results.load(runs).paragraph()
    assert "Tuning: poly 2 configs, cosine 3 configs" in paragraph.text()
    assert len(paragraph.commands) == 2


def test_a_run_without_trials_says_nothing(tmp_path: Path) -> None:
    RunStore.create(tmp_path / "run", {}, "").close()
    assert results.load(tmp_path / "run").paragraph().sentences == ()


@pytest.mark.parametrize("name", ["ordinary", "squeezed", "squeezed_cut"])
def test_runs_of_before_have_one(name: str) -> None:
    text = tell(OLD_RUNS / name)
    assert text.splitlines()[-1].startswith("  python -m tuner.run space=")
    assert "None" not in text
    assert "nan" not in text


ODD = Paragraph(
    sentences=("a_b <i> *x* beats c\\d by 3 % [1, 5].",),
    commands=("run 'space=[poly,exp]' a_b=1",),
)


def test_marks_of_markup_in_names_stay_what_they_are() -> None:
    assert ODD.markdown() == (
        "a_b \\<i\\> \\*x\\* beats c\\\\d by 3 % [1, 5].\n\n"
        "```\nrun 'space=[poly,exp]' a_b=1\n```\n"
    )
    assert ODD.latex() == (
        r"a\_b \textless{}i\textgreater{} *x* beats c\textbackslash{}d by 3 \% [1, 5]."
        "\n"
        r"\texttt{run \textquotesingle{}space=[poly,exp]\textquotesingle{} a\_b=1}"
        "\n"
    )


def test_the_command_prints_it_alone_and_export_writes_three_files(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(run_dir), "--paragraph"]) == 0
    assert capsys.readouterr().out == f"{tell(run_dir)}\n"
    assert main(["export", str(run_dir), "--paragraph", "--out", str(tmp_path)]) == 0
    written = {path.suffix: path.read_text() for path in tmp_path.iterdir()}
    assert written.keys() == {".txt", ".md", ".tex"}
    assert written[".txt"] == f"{tell(run_dir)}\n"
    assert re.search(r"\\% \(delta0=", written[".tex"])
    assert "+-" not in written[".tex"]
