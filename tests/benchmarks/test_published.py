"""Replaying published trainings: made by formula, so every number is known before."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks import published
from results.statistics.unpaired import welch_difference
from tests.benchmarks.published_files import GAP, LRS, SHARES, SPREAD, prefix_loss, write_published

FOUR = dict(enumerate((1.0, 2.0, 3.0, 5.0)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published")
    write_published(path)
    return path


def test_shorter_runs_and_prefixes_are_those_of_the_same_schedule(folder: Path) -> None:
    known = published.load_configurations(folder)
    both = [c for c in known if {15_000, 50_000} <= c.losses.keys()]
    assert len(both) == len(LRS) * len(SHARES)
    # A cooldown of 80 % begins at 10,000: its own curve; one of 10 % at 45,000: the trunk's.
    losses = sorted(c.prefix(15_000) for c in both)
    shares = {0.1: 0.0, 0.8: 0.8}
    expected = [prefix_loss(lr, shares[s], 15_000) for lr, s in itertools.product(LRS, SHARES)]
    assert losses == pytest.approx(sorted(expected))


def test_a_perfect_order_and_its_reverse_are_found(folder: Path) -> None:
    rows = published.correlation_table(published.load_configurations(folder)).splitlines()[2:]
    assert len(rows) == 3
    worst = 10 * (LRS[-1] - LRS[0]) + 1e-3 * (SHARES[1] - SHARES[0])
    for row, length in zip(rows, ("15,000 (30%)", "25,000 (50%)", "35,000 (70%)"), strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[:2] == [length, "1.00, n=6"]
        # the repeat of the best lifts its mean by 0.0005, which leaves it the best
        assert cells[3:5] == ["0.0000", f"{worst - 0.0005:.4f}"]
        assert cells[2] == "-1.00, n=6"


def test_the_spread_of_repeats_is_that_of_two_values_a_thousandth_apart(folder: Path) -> None:
    noise, degrees = published.repeat_noise(published.load_configurations(folder))
    assert (noise, degrees) == (pytest.approx(0.001 / math.sqrt(2)), 1)


def test_schedules_that_look_alike_share_the_regret() -> None:
    # the first two look best: they lose 2 and 0
    assert published.pick_regret([1.0, 1.0, 3.0], [5.0, 3.0, 4.0]) == 1.0


@pytest.mark.parametrize("loss", [0.5, 3.0, 9.0])
def test_a_loss_as_a_share_is_minus_the_loss_in_the_searchs_own_measure(loss: float) -> None:
    assert -math.log10(1 - published.as_share(loss)) == pytest.approx(-loss)


def test_halving_on_squeezed_runs_finds_the_best_and_on_prefixes_never(folder: Path) -> None:
    lines = published.halving_table(published.load_configurations(folder), 20, near=1e-3)
    rows = {row.split("|")[1].strip(): row.split("|")[2:] for row in lines.splitlines()[4:]}
    whole = {name: cells[0].strip() for name, cells in rows.items()}
    # 6 configs, one in three promoted: 6 at 15k, 2 at 25k, 1 at 50k; prefixes pay the rest only.
    assert whole["random, complete runs"] == "300k"
    assert whole["squeezed"] == f"{6 * 15 + 2 * 25 + 50}k"
    assert whole["prefixes, ask first"] == f"{6 * 15 + 2 * 10 + 25}k"
    arrived = {name: cells[2].strip() for name, cells in rows.items()}
    assert arrived["squeezed"] == "100%"
    assert arrived["prefixes, ask first"] == "0%"


def test_arms_are_compared_at_their_ends_and_at_the_last_common_step(folder: Path) -> None:
    arms = published.load_arms(folder)
    assert published.last_common_step(arms) == 100
    # 3.5 - 0.15 and 3.5 + 0.05 - 0.2: equal at their ends
    ends = published.losses_at(arms)
    assert "undecided" in published.pairs_table(ends)
    at_100 = published.losses_at(arms, 100)
    test = stats.ttest_ind(
        [-loss for loss in at_100["early"].values()],
        [-loss for loss in at_100["late"].values()],
        equal_var=False,
    )
    low, high = test.confidence_interval(0.95)
    table = published.pairs_table(at_100)
    assert f"{GAP:+.5f} [{low:+.5f}, {high:+.5f}]" in table
    assert "early is lower" in table
    assert f"{np.std(SPREAD, ddof=1):.5f}" in published.arms_table(at_100, {"early": 1, "late": 2})


def test_halves_are_all_ways_to_cut_an_arm_each_once() -> None:
    cuts = [
        tuple(sorted((tuple(sorted(a.values())), tuple(sorted(b.values())))))
        for a, b in published.halves(FOUR)
    ]
    assert sorted(cuts) == sorted({*cuts})
    assert len(cuts) == math.comb(4, 2) / 2
    for a, b in cuts:
        assert sorted((*a, *b)) == sorted(FOUR.values())


def test_halves_that_are_called_different_are_counted() -> None:
    # Of 0, 0.1, 10, 10.1 only {0, 0.1} against {10, 10.1} is separated.
    arms = {"a": dict(enumerate((0.0, 0.1, 10.0, 10.1)))}
    assert published.false_claims(arms, welch_difference) == (1 / 3, 3)


def test_intervals_of_normal_seeds_hold_in_about_95_percent() -> None:
    rng = np.random.default_rng(0)
    arms = {name: dict(enumerate(rng.normal(0, 1, 400).tolist())) for name in "ab"}
    held, false = published.coverage(arms, welch_difference, 5, 1000)
    # five standard errors of 1,000 and 2,000 draws
    assert held == pytest.approx(0.95, abs=0.035)
    assert false == pytest.approx(0.05, abs=0.025)


@pytest.mark.parametrize("words", [[], ["nowhere"]])
def test_without_the_data_it_says_so_in_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published.main([str(tmp_path / word) for word in words])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("skipped: no folder with llm_schedules_runs.parquet")


def test_all_tables_are_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published.main([str(folder), "--replays", "3", "--draws", "5"])
    printed = capsys.readouterr().out
    # correlations, halving, arms and pairs twice, resampling
    assert len([line for line in printed.splitlines() if line.startswith("| --")]) == 7
    assert "6 schedules, 3 random orders" in printed
