"""Several runs and many arms: what is compared, what is left out, and why it says so."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

import results
from results.__main__ import main
from results.records.store import RunStore
from results.report import write_report
from results.report.page import render_report
from results.report.provenance import differences_table
from tests.conftest import ROOT
from tests.fakes.results import edit_manifest, make_recipe, write_run

OLD_RUN = ROOT / "tests" / "data" / "runs" / "ordinary"
MANY = ("poly", "cosine", "exp", "wsd", "linear")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run", arms=MANY, trials=1, seeds=5)


def test_a_picked_pair_is_one_comparison_and_not_one_of_fifteen(many: Path) -> None:
    run = results.load(many)
    all_arms = [arm.name for arm in run.compare().arms]
    assert len(run.compare().claims) == len([*itertools.combinations(all_arms, 2)]) == 15
    pair = run.pick(["poly", "cosine"])
    (claim,) = pair.compare().claims
    whole = next(c for c in run.compare().claims if {c.a, c.b} == {"poly", "cosine"})
    assert claim.p_holm == claim.difference.p_value == whole.difference.p_value
    assert "corrected" not in pair.compare().verdict
    assert any("2 of 6 arms were picked by name" in note for note in pair.notes)
    assert {row["space"] for row in pair.epochs.to_pylist()} == {"poly", "cosine"}


def test_your_default_is_picked_by_its_word(many: Path) -> None:
    compared = results.load(many).pick(["poly", "baseline"]).compare()
    assert [arm.name for arm in compared.arms] == ["poly", "baseline"]
    assert compared.reference == "baseline"


def test_picking_all_arms_changes_nothing(many: Path) -> None:
    run = results.load(many)
    everything = run.pick([*MANY, "baseline"])
    assert everything.notes == run.notes
    assert everything.compare().verdict == run.compare().verdict


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        (["poly", "cosin"], "unknown arm 'cosin'; did you mean 'cosine'?"),
        (["poly"], "two arms or more are compared, but got poly."),
    ],
)
def test_arms_that_are_not_there_are_refused(many: Path, arms: list[str], said: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  (its text is compared)
        results.load(many).pick(arms)
    assert str(refused.value).startswith(said)


@pytest.mark.slow
def test_command_and_report_take_arms(many: Path, tmp_path: Path, capsys) -> None:
    words = ["compare", str(many), "arms=[poly,wsd]", "--no-plots"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "poly - wsd" in out
    assert "cosine" not in out
    page = tmp_path / "page.html"
    assert main(["report", str(many), "arms=[poly,wsd]", f"out={page}"]) == 0
    assert "2 arms" in page.read_text()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one workload, a longer one, one of older records, an empty and a newer one."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "x-aaaa", arms=("poly",), trials=1, run_seed=1)
    write_run(folder / "x-bbbb", arms=("cosine",), trials=1, run_seed=1)
    write_run(folder / "x-cccc", arms=("exp",), trials=1, recipe=make_recipe(epochs=8))
    shutil.copytree(OLD_RUN, folder / "old")
    RunStore.create(folder / "empty", {}, "").close()
    write_run(folder / "newer", trials=1)
    edit_manifest(folder / "newer", schema_version=99)
    for name, trials, torch in (("x-aaaa", 4, "2.14"), ("x-bbbb", 8, "2.15")):
        edit_manifest(
            folder / name,
            versions={"torch": torch, "numpy": "2.4"},
            config={"trials": trials, "name": name, "search": {"sampler": "tpe"}},
            started_at=f"2026-11-2{trials}T07:00:00+00:00",
            hardware={"machine": "x86_64"},
        )
    return folder


def test_of_a_folder_of_runs_the_comparable_ones_are_taken(runs: Path) -> None:
    run = results.load(runs).comparable()
    assert [*run.manifests] == ["x-aaaa", "x-bbbb"]
    assert [path.name for path in run.dirs] == ["x-aaaa", "x-bbbb"]
    assert [arm.name for arm in run.compare().arms] == ["poly", "baseline", "cosine"]
    notes = " ".join(run.notes)
    assert "run x-cccc is left out: epochs is 8 there, 6 in the others." in notes
    assert "run old is left out: data_fingerprint is" in notes or "is left out: " in notes
    assert "run empty is left out: it has no trial yet." in notes
    assert f"{runs / 'newer'} is left out: " in notes
    assert "Update GradTune" in notes


@pytest.mark.slow
def test_data_are_the_same_by_their_content_or_by_their_files(tmp_path: Path) -> None:
    """Records of before have the fingerprint of the files in place of that of the content."""
    of_run = {
        "before": {"data_fingerprint": "files"},
        "now": {"data_fingerprint": "content", "data_files": "files"},
        "written anew": {"data_fingerprint": "content", "data_files": "others"},
        "other": {"data_fingerprint": "files2", "data_files": "files3"},
        # Names and sizes of a folder, with other pixels.
        "changed": {"data_fingerprint": "content2", "data_files": "files"},
    }
    for name, data in of_run.items():
        folder = tmp_path / name.replace(" ", "-")
        write_run(folder, arms=("poly",), trials=1, recipe=make_recipe(**data))
    now = ["before", "now"]
    assert [*results.load([tmp_path / name for name in now]).comparable().manifests] == now
    again = ["now", "written-anew"]
    assert [*results.load([tmp_path / name for name in again]).comparable().manifests] == again
    assert results.load([tmp_path / name for name in again]).compare().arms
    with pytest.raises(ValueError, match="data_fingerprint is content in run now but content2"):
        results.load([tmp_path / name for name in ("now", "changed")]).compare()
    run = results.load(tmp_path).comparable()
    assert "other" not in run.manifests
    assert "run other is left out: data_fingerprint is files2 there" in " ".join(run.notes)


def test_runs_of_several_objectives_are_compared_by_a_named_metric_alone(tmp_path: Path) -> None:
    for name, objective in (("a", "val_accuracy"), ("b", "val_accuracy"), ("c", "val_loss")):
        goal = "min" if objective == "val_loss" else "max"
        recipe = make_recipe(objective=objective, goal=goal)
        write_run(tmp_path / name, arms=("poly",), trials=1, recipe=recipe)
    run = results.load(tmp_path)
    assert [*run.comparable().manifests] == ["a", "b"]
    assert "run c is left out: goal is min there, max in the others." in run.comparable().notes
    assert [*run.comparable("test_loss").manifests] == ["a", "b", "c"]


def test_runs_that_have_nothing_in_common_are_refused_as_before(tmp_path: Path) -> None:
    write_run(tmp_path / "a", trials=1)
    write_run(tmp_path / "b", trials=1, recipe=make_recipe(epochs=8))
    run = results.load(tmp_path).comparable()
    with pytest.raises(ValueError, match="different workloads: epochs is 6 in run a but 8 in run"):
        run.compare()


def test_a_newer_run_alone_is_refused(runs: Path) -> None:
    with pytest.raises(ValueError, match="Update GradTune"):
        results.load(runs / "newer")


def test_what_differs_between_runs_is_told_and_nothing_else(runs: Path) -> None:
    table = differences_table(results.load(runs).comparable())
    assert table is not None
    told = {row[0]: row[1] for row in table.rows}
    assert told["trials"] == "4 (aaaa); 8 (bbbb)"
    assert told["torch"] == "2.14 (aaaa); 2.15 (bbbb)"
    assert told["started"].startswith("2026-11-24 07:00:00 UTC (aaaa); 2026-11-28")
    assert not {"numpy", "name", "search.sampler", "hardware machine", "status"} & told.keys()
    assert differences_table(results.load(runs / "x-aaaa")) is None


def test_the_command_tells_what_differs_and_what_is_left_out(runs: Path, capsys) -> None:
    assert main(["compare", str(runs / "*"), "--no-plots"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("What differs between the runs\n")
    assert "note: run x-cccc is left out: epochs is 8 there" in out


@pytest.mark.slow
def test_the_report_of_several_runs_tells_what_differs(runs: Path, tmp_path: Path) -> None:
    run = results.load(runs).comparable()
    assert "2.14 (aaaa); 2.15 (bbbb)" in write_report(run, tmp_path / "page.html").read_text()
    single = render_report(results.load(runs / "x-aaaa"))
    assert "What differs" not in single
