"""What `results.load` makes of good, half-finished and damaged runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import results
from results.records.schema import EPOCHS, TRIALS
from results.records.segments import (
    DamagedFile,
    list_segments,
    read_manifest,
    read_segment,
    write_manifest,
    write_segment,
)
from results.records.store import RunStore
from results.report.provenance import provenance
from tests.fakes.results import (
    NUM_TEST_IMAGES,
    RECIPE,
    edit_manifest,
    make_recipe,
    make_space,
    make_trial,
    write_run,
    write_trial,
)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "20261121T071500Z-poly-3f2a")


@pytest.fixture
def store(tmp_path):
    spaces = [make_space("poly").to_dict(), make_space("cosine").to_dict()]
    manifest = {"spaces": spaces, "num_test": NUM_TEST_IMAGES}
    with RunStore.create(tmp_path / "run", manifest, "") as store:
        yield store


def reload(store: RunStore) -> results.Run:
    store.flush()
    return results.load(store.run_dir)


def test_a_finished_run_reads_whole_and_without_notes(run_dir):
    run = results.load(run_dir)
    assert run.trials.num_rows == 2 * 8 + 3 * 3
    assert run.epochs.num_rows == 6 * run.trials.num_rows
    assert run.trials.schema == TRIALS
    assert run.epochs.schema == EPOCHS
    assert run.notes == []
    assert set(run.spaces) == {"poly", "cosine"}
    assert run.manifests[run_dir.name]["status"] == "completed"


@pytest.mark.parametrize("form", ["folder", "string", "parent", "glob", "list", "twice"])
def test_a_path_may_be_a_run_a_folder_a_glob_or_a_list(run_dir, form):
    path = {
        "folder": run_dir,
        "string": str(run_dir),
        "parent": run_dir.parent,
        "glob": str(run_dir.parent / "2026*"),
        "list": [run_dir],
        "twice": [run_dir, run_dir.parent],
    }[form]
    assert results.load(path).trials.num_rows == 25


@pytest.mark.slow
@pytest.mark.parametrize("name", ["runs [1]", "runs*", "it's ~ (a=b)?", "\u00e9\u4e2d"])
def test_what_exists_is_no_pattern(tmp_path, monkeypatch, name):
    write_run(tmp_path / name / "one", trials=2, seeds=1)
    write_run(tmp_path / "runs 1" / "two", trials=2, seeds=1)
    for path in (tmp_path / name, str(tmp_path / name / "one"), f"{tmp_path}/{name}/o*"):
        assert list(results.load(path).manifests) == ["one"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list(results.load(f"~/{name}/*").manifests) == ["one"]


@pytest.mark.parametrize("path", ["nowhere", "runs/*nothing*", ".github", "~nobody/x", []])
def test_a_path_without_runs_is_one_line(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".github").mkdir()
    with pytest.raises(ValueError, match=r"^[^\n]*(holds no run|does not exist|no runs)[^\n]*$"):
        results.load(path)


def flip(content: bytes, position: int = 200, bit: int = 0) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


DAMAGE = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "flipped bit": flip,
    "garbage": lambda content: b"garbage" * 100,
    "zeroed": lambda content: bytes(len(content)),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("table", ["epochs", "trials"])
def test_a_damaged_file_among_good_ones_is_skipped_and_noted(tmp_path, table, damage):
    run_dir = write_run(tmp_path / "run", trials=2, seeds=1)
    (good,) = list_segments(run_dir, table)
    bad = run_dir / table / "00001.parquet"
    bad.write_bytes(damage(good.read_bytes()))
    run = results.load(run_dir)
    assert run.trials.num_rows == 7
    assert run.epochs.num_rows == 42
    assert len(run.notes) == 1
    assert str(bad) in run.notes[0]
    assert run.notes == results.verify(run_dir)


def test_no_flipped_bit_changes_a_number_unnoticed(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    (path,) = list_segments(run_dir, "epochs")
    good, content = read_segment(path, EPOCHS), path.read_bytes()
    detected = 0
    for position in range(0, len(content), 53):
        path.write_bytes(flip(content, position, position % 8))
        try:
            assert read_segment(path, EPOCHS).equals(good)
        except DamagedFile:
            detected += 1
    assert detected > 100


def test_a_damaged_manifest_is_noted(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    (run_dir / "manifest.json").write_text('{"spaces": [')
    run = results.load(run_dir)
    assert "manifest.json was skipped" in run.notes[0]
    assert run.trials.num_rows == 5


def test_a_note_ends_in_one_full_stop(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    spaces = read_manifest(run_dir)["spaces"]
    spaces[0]["ranges"]["p"] |= {"low": 4.0, "high": 1.0}
    edit_manifest(run_dir, spaces=spaces)
    (note,) = results.load(run_dir).notes
    assert note.endswith(").")


def write_chosen(run_dir: Path) -> str:
    """A run by prefixes with a config chosen, and another trial unfinished; returns the choice."""
    trials = [make_trial(params={"p": p}) for p in (0.5, 2.0)]
    manifest = {
        "spaces": [make_space("poly").to_dict()],
        "config": {"search": {"fidelity": "prefix"}},
        "chosen": {"poly": trials[0].config_key},
        "num_test": 400,
    }
    with RunStore.create(run_dir, manifest, "epochs: 6\n") as store:
        write_trial(store, trials[0], accuracy=0.8)
        write_trial(store, trials[1], accuracy=0.9)
        write_trial(store, make_trial(params={"p": 3.0}), status="interrupted", epochs=2)
    return trials[0].config_key


def without_run_id(run_dir: Path) -> None:
    manifest = read_manifest(run_dir)
    del manifest["run_id"]
    write_manifest(run_dir, manifest)


@pytest.mark.parametrize("age", [lambda run_dir: None, without_run_id], ids=["now", "no run_id"])
def test_a_renamed_run_keeps_its_manifest(tmp_path, age):
    chosen = write_chosen(tmp_path / "first")
    age(tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "second")
    run = results.load(tmp_path / "second")
    assert run.manifests["first"]["num_test"] == 400
    assert [row["config_key"] for row in run.rows() if row["chosen"]] == [chosen]
    assert run.best().config_key == chosen
    assert [len(row["prefix_scores"]) for row in run.search_rows()] == [6, 6, 2]
    assert run.notes == ["run first was interrupted: 1 trials unfinished."]
    (origin,) = provenance(run)
    assert (origin.run_id, origin.config) == ("first", "epochs: 6\n")


def test_a_folder_without_manifest_goes_by_its_rows(tmp_path):
    write_chosen(tmp_path / "first")
    (tmp_path / "first" / "manifest.json").unlink()
    (tmp_path / "first").rename(tmp_path / "second")
    run = results.load(tmp_path / "second")
    assert list(run.manifests) == ["first"]
    assert "run first was interrupted: 1 trials unfinished." in run.notes


def test_runs_of_one_name_in_two_folders_are_two_runs(tmp_path):
    first = write_run(tmp_path / "a" / "exp", trials=2, seeds=1)
    second = write_run(tmp_path / "b" / "exp", trials=1, seeds=2)
    edit_manifest(second, seed=7)
    shutil.copytree(second, tmp_path / "c" / "exp")  # one of them copied: still two
    both = results.load([first, second, tmp_path / "c" / "exp"])
    assert [*both.manifests] == ["exp", str(second)]
    assert sum("the same run" in note for note in both.notes) == 1
    alone = [results.load(folder) for folder in (first, second)]
    assert both.trials.num_rows == sum(run.trials.num_rows for run in alone)
    assert both.epochs.num_rows == sum(run.epochs.num_rows for run in alone)


def test_a_copy_beside_its_run_is_counted_once(tmp_path):
    write_chosen(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    run = results.load(tmp_path)
    assert run.trials.num_rows == 3
    assert run.dirs == (tmp_path / "first",)
    copied = f"{tmp_path / 'second'} and {tmp_path / 'first'} hold the same run: counted once."
    assert copied in run.notes
    assert sum("was interrupted" in note for note in run.notes) == 1


def test_verify_finds_missing_segments_and_lost_epochs(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    (run_dir / "epochs" / "00000.parquet").rename(run_dir / "epochs" / "00001.parquet")
    moved = f"{run_dir / 'epochs' / '00001.parquet'} was written as epochs/00000."
    missing = f"{run_dir / 'epochs'}: segment 00000 is missing (30 rows)."
    assert results.verify(run_dir) == [moved, missing]
    (run_dir / "epochs" / "00001.parquet").unlink()
    first, *problems = results.verify(run_dir)
    assert first == missing
    assert len(problems) == 5
    assert all("has 0 of its 6 epochs." in problem for problem in problems)


def rewrite(path: Path, schema: pa.Schema, change) -> None:
    table = change(read_segment(path, schema))
    pq.write_table(table, path, write_page_checksum=True)


def with_version(table: pa.Table, version: int) -> pa.Table:
    return table.replace_schema_metadata({"schema_version": str(version)})


def test_files_of_an_older_version_get_nulls_for_newer_columns(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    path = run_dir / "epochs" / "00000.parquet"
    rewrite(path, EPOCHS, lambda t: with_version(t.drop_columns(["images_per_second"]), 0))
    run = results.load(run_dir)
    assert run.notes == []
    assert run.epochs["images_per_second"].null_count == run.epochs.num_rows == 30


def test_unknown_columns_are_dropped_and_small_integers_widened(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    path = run_dir / "epochs" / "00000.parquet"

    def change(table: pa.Table) -> pa.Table:
        epoch = table["epoch"].cast(pa.int32())
        table = table.set_column(EPOCHS.get_field_index("epoch"), "epoch", epoch)
        return table.append_column("future", epoch)

    rewrite(path, EPOCHS, change)
    run = results.load(run_dir)
    assert run.notes == []
    assert run.epochs.schema == EPOCHS


def test_a_column_of_the_wrong_kind_is_named(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    path = run_dir / "epochs" / "00000.parquet"
    text = pa.array(["1"] * 30)
    index = EPOCHS.get_field_index("epoch")
    rewrite(path, EPOCHS, lambda t: t.set_column(index, "epoch", text))
    assert "column epoch is string instead of int64" in results.load(run_dir).notes[0]


def test_a_newer_schema_is_refused_plainly(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    rewrite(run_dir / "trials" / "00000.parquet", TRIALS, lambda t: with_version(t, 3))
    with pytest.raises(ValueError, match="schema version 3, but this GradTune reads up to 2"):
        results.load(run_dir)


def test_the_latest_attempt_wins_then_the_latest_row(tmp_path):
    run_dir = tmp_path / "run"
    trial = make_trial()
    for attempt, accuracy in ((0, 0.5), (2, 0.6), (1, 0.7), (2, 0.8)):
        if run_dir.exists():
            store = RunStore.open(run_dir)
        else:
            store = RunStore.create(run_dir, {}, "")
        with store:
            write_trial(store, trial, attempt=attempt, accuracy=accuracy)
    run = results.load(run_dir)
    assert run.trials.num_rows == 1
    assert run.epochs.num_rows == 6
    assert set(run.epochs["attempt"].to_pylist()) == {2}
    assert run.trials["attempt"].to_pylist() == [2]
    assert run.trials["objective"][0].as_py() == pytest.approx(0.8, abs=0.03)


def test_rows_keep_the_order_of_their_first_appearance(tmp_path):
    trials = [make_trial(params={"p": p}) for p in (0.3, 0.9, 0.2, 0.7)]
    with RunStore.create(tmp_path / "run", {}, "") as store:
        for trial in trials:
            write_trial(store, trial, status="running")
    with RunStore.open(tmp_path / "run") as store:
        for trial in reversed(trials):
            write_trial(store, trial, attempt=1)
    run = results.load(tmp_path / "run")
    assert run.trials["p"].to_pylist() == [0.3, 0.9, 0.2, 0.7]
    assert set(run.trials["status"].to_pylist()) == {"completed"}


def test_an_interrupted_run_says_how_much_is_unfinished(tmp_path):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        write_trial(store, make_trial(), status="running", epochs=2)
        write_trial(store, make_trial(replicate=1), status="interrupted", epochs=2)
        write_trial(store, make_trial(replicate=2))
        assert reload(store).notes == ["run run is still running: 2 trials unfinished."]
    assert results.load(tmp_path / "run").notes == [
        "run run was interrupted: 2 trials unfinished."
    ]


def test_best_is_the_confirmed_config_and_never_the_baseline(run_dir):
    run = results.load(run_dir)
    poly = run.best("poly")
    assert (poly.space, poly.role) == ("poly", "confirm")
    assert run.best().space in {"poly", "cosine"}
    assert run.best("baseline").space == "baseline"
    with pytest.raises(ValueError, match="unknown space 'pol'; did you mean 'poly'"):
        run.best("pol")


def test_best_before_confirmation_is_the_best_search_trial(store):
    for p, accuracy in ((0.5, 0.7), (0.9, 0.9), (2.0, 0.8)):
        write_trial(store, make_trial(params={"p": p}), accuracy=accuracy)
    write_trial(store, make_trial("baseline", role="confirm"), accuracy=0.95)
    run = reload(store)
    assert run.best().params["p"] == 0.9
    assert "nothing to compare yet" in run.compare().verdict


def test_best_of_an_unfinished_run_says_so(store):
    write_trial(store, make_trial(), status="running", epochs=1)
    with pytest.raises(ValueError, match="no trial of any searched space has finished yet"):
        reload(store).best()


def confirm(store: RunStore, space: str, replicate: int, accuracy: float, **given: object) -> None:
    write_trial(
        store,
        make_trial(space, role="confirm", replicate=replicate),
        accuracy=accuracy,
        **given,  # type: ignore[arg-type]
    )


def test_only_confirm_trials_on_test_enter_the_verdict(store):
    write_trial(store, make_trial("cosine"), accuracy=0.99)
    for replicate, (a, b) in enumerate([(0.92, 0.90), (0.93, 0.912), (0.91, 0.886)]):
        confirm(store, "poly", replicate, a)
        confirm(store, "baseline", replicate, b)
    comparison = reload(store).compare()
    assert comparison.verdict.startswith("poly beats your default (not tuned) by 2.1 points")
    assert {arm.name: arm.n for arm in comparison.arms} == {"cosine": 0, "poly": 3, "baseline": 3}
    # 360 test images: two images are 2/360 of accuracy
    assert comparison.min_effect == pytest.approx(2 / 360)
    assert comparison.details["poly"].confirm.samples_seen == 3 * 7200
    assert comparison.details["cosine"].search.samples_seen == 7200


def test_diverged_counts_at_chance_and_failures_are_dropped_from_all_arms(store):
    confirm(store, "poly", 0, 0.92)
    confirm(store, "poly", 1, 0.5, status="diverged")
    confirm(store, "poly", 2, 0.92, status="oom", epochs=1)
    for replicate in range(3):
        confirm(store, "baseline", replicate, 0.90)
    comparison = reload(store).compare()
    poly, baseline = comparison.arms
    assert (poly.n, baseline.n) == (2, 2)
    assert poly.mean == pytest.approx((0.92 + 0.1) / 2)
    assert comparison.details["poly"].num_trials == {"completed": 1, "diverged": 1, "oom": 1}
    assert any("poly: 1 confirm seeds were lost" in text for text in comparison.warnings)


def test_running_replicates_only_wait(store):
    for replicate in range(3):
        confirm(store, "baseline", replicate, 0.90)
    confirm(store, "poly", 0, 0.92)
    confirm(store, "poly", 1, 0.92, status="running", epochs=1)
    poly = reload(store).compare().arms[1]
    assert poly.difference is not None
    assert (poly.difference.n, poly.difference.num_unpaired) == (1, 2)


def test_a_choice_at_the_end_of_its_range_is_warned_about(store):
    high = make_space("poly").ranges["delta0"].high
    write_trial(store, make_trial(params={"delta0": high}), accuracy=0.99)
    (warning,) = reload(store).compare().warnings
    assert "poly: the best delta0" in warning
    assert "widen spaces.poly.delta0" in warning


def test_unequal_search_budgets_are_warned_about(store):
    write_trial(store, make_trial("cosine"))
    for replicate in range(2):
        write_trial(store, make_trial("poly", replicate=replicate))
    (warning,) = reload(store).compare().warnings
    assert "unequal samples: cosine 7,200, poly 14,400" in warning


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value"), [("epochs", 8), ("data_fingerprint", "beef"), ("model", "cnn")]
)
def test_different_workloads_are_not_compared(tmp_path, field, value):
    first = write_run(tmp_path / "first", trials=1, seeds=1)
    other = make_recipe(**{field: value})
    second = write_run(tmp_path / "second", trials=1, seeds=1, recipe=other)
    run = results.load([first, second])
    with pytest.raises(ValueError, match=f"{field} is .* in run first but {value} in run second"):
        run.compare()


@pytest.mark.slow
def test_arms_of_several_runs_are_told_apart_only_when_needed(tmp_path):
    one = write_run(tmp_path / "x-aaaa", arms=("poly",), run_seed=1)
    two = write_run(tmp_path / "x-bbbb", arms=("cosine",), run_seed=1)
    three = write_run(tmp_path / "x-cccc", arms=("poly",), run_seed=2)
    joined = results.load([one, two]).compare()
    assert [arm.name for arm in joined.arms] == ["poly", "baseline", "cosine"]
    assert [arm.n for arm in joined.arms] == [3, 3, 3]
    split = results.load([one, three]).compare()
    assert [arm.name for arm in split.arms] == ["poly@aaaa", "poly@cccc", "baseline"]
    assert split.pairs["poly@aaaa", "poly@cccc"].n == 0  # other seeds: nothing to pair


def test_an_unknown_metric_is_refused_with_the_nearest(run_dir):
    with pytest.raises(ValueError, match="did you mean 'test_accuracy'"):
        results.load(run_dir).compare("test_acuracy")


def test_importing_results_stays_cheap():
    code = "import sys, results; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parent.parent.parent,
    )  # fmt: skip
    heavy = {"scipy", "matplotlib", "optuna", "torch", "ray", "pandas"}
    assert not heavy & set(done.stdout.split())


def test_comparing_needs_no_manifest_for_costs(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=2, seeds=2)
    manifest = read_manifest(run_dir)
    del manifest["spaces"]
    write_manifest(run_dir, manifest)
    comparison = results.load(run_dir).compare()
    assert comparison.details["poly"].search.samples_seen == 2 * 6 * RECIPE.train_examples


def test_an_empty_segment_is_no_damage(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    write_segment(run_dir / "epochs" / "00001.parquet", EPOCHS.empty_table())
    assert results.load(run_dir).notes == []


@pytest.mark.slow
def test_a_notebook_shows_states_arms_and_notes(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=2)
    (run_dir / "trials" / "99999.parquet").write_bytes(b"<no table>")
    html = results.load(run_dir)._repr_html_()
    for text in ("<p>run run: ", "your default (not tuned)", "<p>note: ", "best validation %"):
        assert text in html
    assert "pyarrow" not in html
    assert "<no table>" not in html


def test_epochs_lost_by_one_run_are_not_made_up_for_by_another(tmp_path):
    """Runs may share a trial: the same config and seed, such as a baseline."""
    for name in ("whole", "cut"):
        with RunStore.create(tmp_path / name, {}, "") as store:
            write_trial(store, make_trial())
    for path in list_segments(tmp_path / "cut", "epochs"):
        path.unlink()
    (note,) = results.load(tmp_path).notes
    assert note == "1 trials lack epochs; python -m results verify tells which."


def test_epochs_are_those_of_the_trials_and_the_column_asked_for(tmp_path):
    run = results.load(write_run(tmp_path / "run", trials=3, seeds=1))
    everything = run.epochs_by_trial()
    first, second, *_ = run.rows()
    of_two = run.epochs_by_trial([first, second])
    assert of_two == {key: rows for key, rows in everything.items() if key in of_two}
    assert {key for _, key in of_two} == {first["trial_key"], second["trial_key"]}
    assert run.epochs_by_trial([]) == {}
    assert run.epochs_by_trial(column="seconds") == everything
    assert run.epochs_by_trial(column="noise_c2") == {}


def test_rows_belong_to_who_asked(tmp_path):
    run = results.load(write_run(tmp_path / "run", trials=2, seeds=1))
    run.rows()[0]["space"] = "changed"
    assert "changed" not in {row["space"] for row in (*run.rows(), *run.search_rows())}
