"""Expected best of n random configs: by enumeration, and when it is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import results
from results.plots import save_plots
from results.plots.search.best_of_n import best_of_n, best_of_n_info, best_quantile, expected_best
from results.records.store import RunStore
from tests.fakes.results import (
    edit_manifest,
    make_space,
    make_trial,
    suggest,
    write_run,
    write_trial,
)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=7))
def test_it_is_the_mean_over_all_subsets(scores):
    expected = [
        np.mean([max(subset) for subset in itertools.combinations(scores, n)])
        for n in range(1, len(scores) + 1)
    ]
    assert expected_best(scores).tolist() == pytest.approx(expected)


def test_three_configs_by_hand():
    # pairs of 1, 2, 3: best 2, 3, 3
    assert expected_best([3.0, 1.0, 2.0]).tolist() == pytest.approx([2.0, 8 / 3, 3.0])


@pytest.mark.slow
@given(st.lists(st.sampled_from([0.1, 0.5, 0.6, 0.9]), min_size=1, max_size=7))
def test_quantiles_are_those_over_all_subsets(scores):
    for share in (0.1, 0.5, 0.9):
        expected = [
            np.quantile(
                [max(subset) for subset in itertools.combinations(scores, n)],
                share,
                method="inverted_cdf",
            )
            for n in range(1, len(scores) + 1)
        ]
        assert best_quantile(scores, share).tolist() == expected


def test_a_thousand_configs_do_not_overflow():
    score_N = np.random.default_rng(0).random(1000)
    mean_N = expected_best(score_N)
    assert mean_N[0] == pytest.approx(score_N.mean())
    assert mean_N[-1] == score_N.max()
    assert (np.diff(mean_N) >= 0).all()


def write_search(path, *, sampler="random", fidelity="full"):
    manifest = {
        "spaces": [make_space("poly").to_dict()],
        "config": {"search": {"sampler": sampler, "fidelity": fidelity}},
    }
    with RunStore.create(path, manifest, "") as store:
        for params, accuracy in zip(suggest(make_space("poly"), 4), (0.8, 0.9, 0.7, 0.6),
                                    strict=True):  # fmt: skip
            write_trial(store, make_trial("poly", params), accuracy=accuracy)
        write_trial(store, make_trial("poly", {"p": 3.0}), status="diverged", epochs=1)
        write_trial(store, make_trial("poly", {"p": 2.0}), status="oom", epochs=1)
        write_trial(store, make_trial("poly", {"p": 1.0}, horizon=0.5), accuracy=0.99)
        write_trial(store, make_trial("poly", {"p": 1.5}, role="confirm"), accuracy=0.99)
        write_trial(store, make_trial("baseline", role="confirm"), accuracy=0.95)
    return results.load(path)


def test_full_search_trials_count_and_a_diverged_one_at_chance(tmp_path):
    run = write_search(tmp_path / "run")
    (poly,) = best_of_n(run)
    objectives = [row["objective"] for row in run.rows() if row["role"] == "search"]
    assert len(poly.mean_N) == 5  # not the failed, the short, the confirm trial
    assert poly.mean_N[-1] == max(value for value in objectives[:4])
    assert poly.mean_N[0] == pytest.approx((sum(objectives[:4]) + 0.1) / 5)
    assert (poly.low_N <= poly.mean_N).all()
    assert (poly.mean_N <= poly.high_N).all()


@pytest.mark.parametrize(
    ("search", "why"),
    [
        ({"sampler": "tpe"}, "independent configs .* suggested by tpe"),
        ({"sampler": "qmc"}, "suggested by qmc"),
        ({"fidelity": "squeezed"}, "this search was squeezed"),
    ],
)
def test_other_searches_are_refused(tmp_path, search, why):
    run = write_search(tmp_path / "run", **search)
    with pytest.raises(ValueError, match=why):
        best_of_n(run)
    assert best_of_n_info(run) == ()


def test_a_run_that_does_not_say_how_it_searched_is_refused(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=3, seeds=0)
    with pytest.raises(ValueError, match="an unknown sampler"):
        best_of_n(results.load(run_dir))


@pytest.mark.slow
def test_the_figure_is_drawn_for_a_random_search(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=4, seeds=2)
    edit_manifest(run_dir, config={"search": {"sampler": "random", "fidelity": "full"}})
    written = save_plots(results.load(run_dir), tmp_path / "plots")
    assert "best_of_n.png" in [path.name for path in written]
