"""Which rows were trained alike: profiles of runs of several workloads."""

from __future__ import annotations

import dataclasses

import pytest
from matplotlib.figure import Figure

import results
from results.__main__ import main
from results.arms import recipes
from results.arms.recipes import workload_profiles
from results.arms.selection import check_workload, comparable_runs
from results.plots.arms.performance import draw_profiles
from results.records.schema import trial_row
from tests.fakes.results import START, make_recipe, make_trial, write_run


@pytest.fixture(scope="module")
def run_dirs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    longer = make_recipe(epochs=8)
    return [
        str(write_run(folder / "short", trials=2)),
        str(write_run(folder / "long", trials=2, recipe=longer)),
    ]


@pytest.mark.slow
def test_runs_of_two_workloads_are_profiled(run_dirs):
    profiles = workload_profiles(results.load(run_dirs).rows())
    assert [arm.name for arm in profiles.arms] == ["poly", "cosine", "baseline"]
    assert dict(profiles.num_seeds) == {"digits@short": 3, "digits@long": 3}


@pytest.mark.slow
def test_the_command_prints_and_draws(run_dirs, tmp_path, capsys):
    out = tmp_path / "figures" / "profiles.png"
    assert main(["profile", *run_dirs, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].split()[:2] == ["arm", "best"]
    assert "digits@short (n=3), digits@long (n=3)" in text
    assert max(map(len, text.splitlines()[:4])) <= 100
    assert out.stat().st_size > 1000


def test_one_workload_is_one_line_and_code_2(run_dirs, capsys):
    assert main(["profile", run_dirs[0]]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: a profile needs 2 or more workloads")
    assert error.count("\n") == 1


def test_the_figure_says_how_many_workloads_and_seeds(run_dirs):
    figure = Figure(dpi=120)
    draw_profiles(workload_profiles(results.load(run_dirs).rows()), figure)
    assert figure.get_size_inches()[0] * figure.dpi == 1200
    assert figure.axes[0].get_title().startswith("2 workloads, each counting the same: ")


def confirmed(space, replicate, recipe, run_id="run", **params):
    trial = make_trial(space, params, role="confirm", replicate=replicate, recipe=recipe)
    trial = dataclasses.replace(trial, training=tuple(params))
    return trial_row(
        run_id, trial, status="running", attempt=1, outcome=None, epochs_done=0, host="h",
        started_at=START, ended_at=None, error=None,
    )  # fmt: skip


def test_what_a_config_gives_itself_makes_no_other_workload():
    other, plain = make_recipe(weight_decay=0.1), confirmed("cosine", 0, make_recipe())
    searched = confirmed("poly", 0, other, weight_decay=0.1)
    check_workload([searched, plain])
    third = confirmed("poly", 1, make_recipe(weight_decay=0.2), weight_decay=0.2)
    check_workload([searched, third])
    with pytest.raises(ValueError, match="different workloads: weight_decay"):
        check_workload([searched, plain, confirmed("poly", 0, other)])
    with pytest.raises(ValueError, match="different workloads: momentum"):
        check_workload([searched, confirmed("cosine", 0, make_recipe(momentum=0.0))])


SIZED = {"data_options": {"image_size": 8}}
OF_DATA = {
    "parquet": {"dataset": "parquet", "data_files": "a", **SIZED},
    "folder": {"dataset": "imagefolder", "data_files": "b", **SIZED},
    "hub": {"dataset": "hf:owner/name@0123", "data_files": "c", **SIZED},
    "columns": {
        "dataset": "parquet",
        "data_files": "d",
        "data_options": {"image_size": 8, "image_column": "photo", "label_column": "kind"},
    },
}
OTHERS = {
    # Read in other pieces, or normalised otherwise.
    "pieces": {"dataset": "imagefolder", "data_files": "b"},
    "cifar10": {"dataset": "cifar10", "data_files": "a", **SIZED},
    "size": {"dataset": "parquet", "data_files": "a", "data_options": {"image_size": 16}},
    "gray": {"dataset": "parquet", "data_options": {"image_size": 8, "channels": 1}},
    "skip": {"dataset": "parquet", "data_options": {"image_size": 8, "on_bad_image": "skip"}},
    # Other images, or others to validate.
    "split": {"dataset": "parquet", "data_fingerprint": "other", **SIZED},
    "pool": {"dataset": "parquet", "pool_examples": 1300, **SIZED},
    "fraction": {"dataset": "parquet", "train_examples": 1300, **SIZED},
}


def rows_of(of_run):
    """Two arms of a run of each of these recipes."""
    return [
        confirmed(arm, 0, make_recipe(**data), name)
        for name, data in of_run.items()
        for arm in ("poly", "cosine")
    ]


def num_workloads(of_run, monkeypatch):
    """As a profile counts them."""
    counted = []
    monkeypatch.setattr(recipes, "performance_profiles", lambda scores, _: counted.append(scores))
    workload_profiles(rows_of(of_run))
    return len(counted[0])


def test_one_content_read_alike_is_one_workload_and_nothing_else_is(monkeypatch):
    check_workload(rows_of(OF_DATA))
    starts = dict.fromkeys(OF_DATA, "")
    assert comparable_runs(rows_of(OF_DATA), starts, by_objective=True) == ([*OF_DATA], {})
    assert num_workloads(OF_DATA, monkeypatch) == 1
    for name, data in OTHERS.items():
        pair = {"parquet": OF_DATA["parquet"], name: data}
        with pytest.raises(ValueError, match="cannot compare different workloads"):
            check_workload(rows_of(pair))
        assert num_workloads(pair, monkeypatch) == 2
    assert num_workloads({**OF_DATA, **OTHERS}, monkeypatch) == 1 + len(OTHERS)


def test_a_profile_takes_data_of_before_by_their_files(monkeypatch):
    now = {"data_fingerprint": "content", "data_files": "files"}
    of_run = {"before": {"data_fingerprint": "files"}, "now": now, "longer": {**now, "epochs": 8}}
    assert num_workloads(of_run, monkeypatch) == 2
    # Which of both contents the files of before had is not known.
    of_run["changed"] = {"data_fingerprint": "content2", "data_files": "files"}
    assert num_workloads(of_run, monkeypatch) == 4
