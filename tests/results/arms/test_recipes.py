"""Which rows were trained alike: profiles of runs of several workloads."""

from __future__ import annotations

import dataclasses

import pytest
from matplotlib.figure import Figure

import results
from results.__main__ import main
from results.arms.recipes import workload_profiles
from results.arms.selection import check_workload
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


def test_runs_of_two_workloads_are_profiled(run_dirs):
    profiles = workload_profiles(results.load(run_dirs).rows())
    assert [arm.name for arm in profiles.arms] == ["poly", "cosine", "baseline"]
    assert dict(profiles.num_seeds) == {"digits@short": 3, "digits@long": 3}


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


def confirmed(space, replicate, recipe, **params):
    trial = make_trial(space, params, role="confirm", replicate=replicate, recipe=recipe)
    trial = dataclasses.replace(trial, training=tuple(params))
    return trial_row(
        "run", trial, status="running", attempt=1, outcome=None, epochs_done=0, host="h",
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
