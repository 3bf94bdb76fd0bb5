"""The four noise laws and their inverses, by their formulas."""

from __future__ import annotations

import math

import pytest

from search_spaces.noise_law import BELOW_ONE, LAWS, NoiseLaw, momentum_factor

# At beta = 1/2: beta_hat = .5 * .75 / .25 = 3/2. C^2/b = 8/2 = 4, K^2 = 9.
GAINS = {
    "sgd": math.sqrt(4) / 0.5,
    "shb": math.sqrt(2.5 * 4 + 1.5 * 9),
    "nshb_a": math.sqrt(4 + 4 * 0.25 * (4 + 9)),
    "nshb_b": math.sqrt(4 / 0.5),
}


def law(name: str, momentum: float = 0.5) -> NoiseLaw:
    return NoiseLaw(name=name, c2=8.0, k=3.0, momentum=momentum)


def test_every_law_is_tested_here() -> None:
    assert set(GAINS) == set(LAWS)


@pytest.mark.parametrize("name", LAWS)
def test_delta_is_lr_times_the_laws_gain(name: str) -> None:
    assert law(name).gain(2) == pytest.approx(GAINS[name], rel=1e-14)
    assert law(name).delta(0.3, 2) == pytest.approx(0.3 * GAINS[name], rel=1e-14)
    assert law(name).lr(6.0, 2) == pytest.approx(6.0 / GAINS[name], rel=1e-14)


@pytest.mark.parametrize("name", LAWS)
def test_another_momentum_may_be_asked_for_even_zero(name: str) -> None:
    assert law(name, 0.9).gain(2, 0.5) == pytest.approx(GAINS[name], rel=1e-14)
    assert law(name, 0.9).gain(2, 0.0) == pytest.approx(2.0, rel=1e-14)  # C/sqrt(b) under all


@pytest.mark.parametrize("name", LAWS)
def test_the_momentum_of_a_delta_is_the_one_that_makes_it(name: str) -> None:
    beta = law(name, 0.9).momentum_for(0.3 * GAINS[name], 0.3, 2)
    assert beta == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("delta", [0.6, 0.1])
def test_at_or_below_the_noise_of_lr_and_batch_momentum_is_zero(name: str, delta: float) -> None:
    assert law(name).momentum_for(delta, 0.3, 2) == 0.0


def test_no_momentum_below_one_makes_more_noise_than_nshb_a_has() -> None:
    # gain^2 = 4 + 4 beta^2 * 13: beta would have to be 2.
    assert law("nshb_a").momentum_for(math.sqrt(4 + 16 * 13), 1.0, 2) == BELOW_ONE == 1 - 1e-9


@pytest.mark.parametrize("beta", [1e-6, 0.1, 0.5, 0.9, 0.999])
def test_the_momentum_of_heavy_ball_is_found_to_the_last_digits(beta: float) -> None:
    # C^2/b = 4, K = 0: gain^2 - 4 = 4 beta_hat.
    heavy = NoiseLaw(name="shb", c2=8.0, momentum=0.9)
    delta = math.sqrt(4 + 4 * momentum_factor(beta))
    assert heavy.momentum_for(delta, 1.0, 2) == pytest.approx(beta, rel=1e-8)


@pytest.mark.parametrize(
    ("name", "is_free"), [("sgd", 1), ("shb", 0), ("nshb_a", 0), ("nshb_b", 1)]
)
def test_laws_without_k_are_free_of_scale(name: str, is_free: int) -> None:
    """Doubling C and K doubles every delta; without K doubling C alone does."""
    assert law(name).is_scale_free == bool(is_free)
    ratio = NoiseLaw(name=name, c2=32.0, k=3.0, momentum=0.5).gain(2) / law(name).gain(2)
    assert (ratio == pytest.approx(2.0)) == bool(is_free)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "adam"}, r"^noise\.law must be one of sgd, shb, nshb_a, nshb_b, but got 'adam'"),
        ({"c2": 0.0}, r"^`noise\.c2 > 0` must hold, but got \(c2=0\.0\)"),
        ({"c2": math.inf}, r"`noise\.c2 > 0` must hold"),
        ({"k": -1e-9}, r"^`noise\.k >= 0` must hold, but got \(k=-1e-09\)"),
        ({"k": math.inf}, r"`noise\.k >= 0` must hold"),
        ({"momentum": -0.1}, r"^`0 <= momentum < 1` must hold, but got \(momentum=-0\.1\)"),
        ({"momentum": 1.0}, r"`0 <= momentum < 1` must hold"),
    ],
)
def test_constants_outside_their_domain_are_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NoiseLaw(**changes)


def test_the_same_update_has_two_deltas_only_under_two_named_laws() -> None:
    """Heavy ball as torch's SGD has it, and as AAAI's SHB: one update, two conventions."""
    torchs, papers = law("sgd", 0.9), law("shb", 0.9)
    assert torchs.delta(0.1, 2) != papers.delta(0.1, 2)
    assert torchs.formula == (
        "law sgd: delta = lr/(1-beta) C/sqrt(b) (with momentum our convention, in neither paper)"
    )
    assert papers.formula.startswith("law shb: delta = lr sqrt((1+h) C^2/b + h K^2), h = beta")
    assert papers.formula.endswith(" (arXiv 2412.11501)")
    assert law("sgd", 0.0).formula == "law sgd: delta = lr C/sqrt(b) (arXiv 2311.08745)"
    # Both forms for NSHB are known from code alone: (a) stands unused in the later one.
    assert law("nshb_a").formula.endswith(" (earlier code of arXiv 2412.11501)")
    assert law("nshb_b").formula.endswith(" (code of arXiv 2412.11501)")


def test_the_default_is_plain_sgd_with_a_constant_of_one() -> None:
    assert NoiseLaw() == NoiseLaw(name="sgd", c2=1.0, k=0.0, momentum=0.0)
    assert NoiseLaw(c2=1e-300).gain(1) == pytest.approx(1e-150)
