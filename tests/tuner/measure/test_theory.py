"""`python -m tuner.measure theory`: what it prints and writes follows from the formulas."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from results.plots.papers.theory import radius_factors
from tuner.measure.__main__ import main
from tuner.measure.theory import LEVELS, smoothed_levels

Captured = pytest.CaptureFixture[str]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


@pytest.mark.slow
def test_tables_and_figures_are_written_without_any_training(
    tmp_path: Path, capsys: Captured
) -> None:
    # alpha_0 = 1 and M = 5 as in the tests of Algorithm 3; T_F = 1/delta_m^2.
    words = "a=17.2,3 epsilon=0.2 sigma=1 c=5 batch_size=16 h3=0 h4=1 train_examples=1000"
    assert main(["theory", *words.split(), f"out={tmp_path}/new"]) == 0
    out = capsys.readouterr().out
    assert "Algorithm 3: M = 5 levels, alpha_0 = 1, T_F 2,342 steps in all" in out
    assert out.rstrip().endswith("new")
    levels = rows_of(tmp_path / "new" / "algorithm3.csv")
    assert [row["delta"] for row in levels] == ["0.125", "0.1", "0.075", "0.05", "0.025"]
    assert [row["T_F"] for row in levels] == ["64", "100", "178", "400", "1600"]
    starts = np.array([float(row["from epoch"]) for row in levels])
    np.testing.assert_allclose(starts, 200 * np.cumsum([0, 64, 100, 178, 400]) / 2342, atol=0.02)
    # 1/8 halved until it is at most 1/40.
    halved = [row["delta"] for row in rows_of(tmp_path / "new" / "hazan.csv")]
    assert halved == ["0.125", "0.0625", "0.03125", "0.015625"]
    leaving = {row["schedule"]: row for row in rows_of(tmp_path / "new" / "decay_rates.csv")}
    # L(17.2) = .9402 > .94; at a = 3, L = .6095 is above the last rate of p = 1 alone of those.
    assert [*leaving["exp"].values()] == ["exp", "1", "-"]
    assert [*leaving["step"].values()] == ["step", "40", "-"]
    assert [*leaving["p=1"].values()][2] == "199"
    pictures = {path.stem for path in (tmp_path / "new").glob("*.png")}
    expected = {
        "decay_rates_a3",
        "decay_rates_a17.2",
        "radius_factor",
        "graduated",
        "tails",
        "nice",
    }
    assert pictures == expected


BAD = [
    ("epsilom=1", "unknown key 'epsilom'; did you mean 'epsilon'? (known: a, epochs"),
    ("a=1.2", "`a >= sqrt(2)` must hold, but got (a=1.2)"),
    ("a=", "a=: must be a number"),
    ("a=[3,x]", "a=x: must be a number"),
    ("p=2", "`0 < p <= 1` must hold, but got (p=2.0)"),
    ("h3=1", "h3 and h4 must be given together"),
    ("batch_size=1.5", "batch_size=1.5: must be a whole number of at least 1"),
    ("epochs=4", "epochs=4: the curves need at least 5"),
    ("epochs=5 train_examples=128 epsilon=0.01", "every level must have a step"),
    ("levels=100000", "levels=100000: at most 1,000"),
    ("smoothing=gaus", "unknown smoothing 'gaus'; did you mean 'gaussian'?"),
    ("function=rosenbrock", "unknown function of one variable 'rosenbrock'"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "message"), BAD, ids=[words for words, _ in BAD])
def test_a_mistake_is_one_line_and_makes_nothing(
    words: str, message: str, tmp_path: Path, capsys: Captured
) -> None:
    assert main(["theory", *words.split(), f"out={tmp_path}/new"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert [*tmp_path.iterdir()] == []


def test_help_names_every_key_with_its_default(capsys: Captured) -> None:
    assert main(["theory", "--help"]) == 0
    out = capsys.readouterr().out
    assert "a=3,17.2 " in out
    assert "epsilon=0.1 " in out


def test_d_m_lies_within_its_bounds_and_touches_them_where_it_should() -> None:
    info = radius_factors([3.0])
    assert np.all(info.touching_A >= 1.0)
    assert np.all(info.touching_A <= info.head_on_A)
    assert np.all(info.head_on_A <= info.largest_A)
    np.testing.assert_allclose(info.touching_A, info.a_A / np.sqrt(info.a_A**2 - 1.0))
    np.testing.assert_allclose(info.head_on_A, info.a_A / (info.a_A - 1.0))
    assert info.marked[3.0] == pytest.approx((np.sqrt(8) - 1) / 3)


def test_the_picture_of_levels_shows_the_closed_form_of_rastrigin() -> None:
    """u uniform on [-1, 1]: waves times sin(2 pi delta)/(2 pi delta), and delta^2/3 higher."""
    x = np.linspace(-5.0, 5.0, 401)
    for level in smoothed_levels("rastrigin", x):
        wave = np.sinc(2.0 * level.delta) * np.cos(2.0 * np.pi * x)
        expected = x**2 + level.delta**2 / 3.0 + 10.0 - 10.0 * wave
        np.testing.assert_allclose(level.value_X, expected, atol=1e-3)
    assert [level.delta for level in smoothed_levels("sphere", x)] == [*LEVELS]
