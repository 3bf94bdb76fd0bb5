"""Performance profiles over workloads: by hand, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from results.statistics.profiles import performance_profiles

TWO = {
    "digits": {"poly": {0: 0.90, 1: 0.92}, "cosine": {0: 0.91, 1: 0.90}},
    "cifar": {"poly": {0: 0.60, 1: 0.60}, "cosine": {0: 0.50, 1: 0.64}},
}


def share_at(profile, tau_T, tau):
    return profile.share_T[np.searchsorted(tau_T, tau, side="right") - 1]


def test_shares_by_hand():
    profiles = performance_profiles(TWO)
    poly, cosine = profiles.arms
    # gaps: poly 0.01, 0 | 0, 0.04; cosine 0, 0.02 | 0.10, 0
    assert profiles.tau_T[0] == 0.0
    assert profiles.tau_T[-1] == pytest.approx(0.10)
    assert (poly.share_T[0], cosine.share_T[0]) == (0.5, 0.5)
    assert share_at(poly, profiles.tau_T, 0.015) == 0.75
    assert share_at(cosine, profiles.tau_T, 0.015) == 0.5
    assert share_at(poly, profiles.tau_T, 0.05) == 1.0
    assert share_at(cosine, profiles.tau_T, 0.05) == 0.75
    assert (poly.share_T[-1], cosine.share_T[-1]) == (1.0, 1.0)
    assert profiles.num_seeds == {"digits": 2, "cifar": 2}


def test_workloads_count_the_same_however_many_seeds_they_have():
    more = TWO | {"digits": {"poly": dict.fromkeys(range(8), 0.9),
                             "cosine": dict.fromkeys(range(8), 0.8)}}  # fmt: skip
    poly, _ = performance_profiles(more).arms
    assert poly.share_T[0] == (1.0 + 0.5) / 2


def test_bands_hold_the_share_and_close_where_all_seeds_agree():
    profiles = performance_profiles(TWO)
    for arm in profiles.arms:
        assert (arm.low_T <= arm.share_T).all()
        assert (arm.share_T <= arm.high_T).all()
    sure = {w: {"a": {0: 0.9, 1: 0.8}, "b": {0: 0.5, 1: 0.5}} for w in ("x", "y")}
    first, _ = performance_profiles(sure).arms
    assert (first.low_T[0], first.high_T[0]) == (1.0, 1.0)


@pytest.mark.slow
def test_bands_are_quantiles_of_shares_of_resampled_seeds():
    """Written out: 2,000 resamples, within each workload, the same seeds for all arms."""
    rng = np.random.default_rng(5)
    scores = {
        w: {arm: dict(enumerate(rng.uniform(0.8, 0.9, n))) for arm in "abc"}
        for w, n in (("x", 7), ("y", 12))
    }
    profiles = performance_profiles(scores)
    rng = np.random.default_rng(0)
    draws = [
        {w: rng.integers(0, n, n).tolist() for w, n in profiles.num_seeds.items()}
        for _ in range(2_000)
    ]
    tau = profiles.tau_T[60]
    for arm in profiles.arms:
        near = {
            w: [max(arms[a][r] for a in "abc") - arms[arm.name][r] <= tau for r in range(n)]
            for (w, arms), n in zip(scores.items(), profiles.num_seeds.values(), strict=True)
        }
        shares = [
            sum(sum(near[w][r] for r in rows) / len(rows) for w, rows in draw.items()) / 2
            for draw in draws
        ]
        expected = np.quantile(shares, (0.025, 0.975))
        assert (arm.low_T[60], arm.high_T[60]) == pytest.approx(tuple(expected))


@pytest.mark.slow
def test_only_common_seeds_and_common_arms_count():
    profiles = performance_profiles(
        {
            "x": {"a": {0: 0.9, 1: 0.8, 2: 0.1}, "b": {0: 0.5, 1: 0.5}, "only": {0: 1.0}},
            "y": {"b": {5: 0.5}, "a": {5: 0.6}, "empty": {}},
        }
    )
    assert [arm.name for arm in profiles.arms] == ["a", "b"]
    assert profiles.left_out == ("only",)
    assert profiles.num_seeds == {"x": 2, "y": 1}


@pytest.mark.parametrize(
    ("scores", "why"),
    [
        (
            {},
            r"^a profile needs 2 or more workloads with confirm trials, but got 0 \(none\)\. Name",
        ),
        ({"x": TWO["digits"]}, r"got 1 \(x\)\. Name runs of different workloads\.$"),
        ({"x": TWO["digits"], "y": {"poly": {}, "cosine": {}}}, r"got 1 \(x\)"),
        (
            {"x": {"a": {0: 1.0}}, "y": {"b": {0: 1.0}}},
            "two arms that all workloads have, but got 0",
        ),
        (
            {"x": TWO["digits"], "y": {"poly": {0: 1.0}, "b": {}}},
            "^a profile needs two.* got poly",
        ),
        (
            {"x": TWO["digits"], "y": {"poly": {0: 1.0}, "cosine": {1: 1.0}}},
            "^a profile needs a seed that all arms of a workload have",
        ),
    ],
)
def test_what_cannot_be_profiled_is_refused(scores, why):
    with pytest.raises(ValueError, match=why):
        performance_profiles(scores)
