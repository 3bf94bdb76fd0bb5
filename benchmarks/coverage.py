"""How often do the intervals of a comparison hold the truth? `python -m benchmarks.coverage`.

Prints the tables of docs/statistics.md (2 minutes on one core). The differences are simulated:
their true mean is zero, their distribution is normal, Student's t with 5 degrees of freedom, the
difference of two skewed ones of the same shape, or itself skewed (centred).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np

from results.statistics.compare import compare
from results.statistics.intervals import examples_interval
from results.statistics.paired import paired_difference
from results.statistics.resampling import bca_interval, sign_flip_p
from results.statistics.sequential import e_value

Draw = Callable[[np.random.Generator, int], np.ndarray]

DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(0.0, 1.0, n),
    "t5": lambda rng, n: rng.standard_t(5, n),
    "exponential": lambda rng, n: rng.exponential(1.0, n) - 1.0,
    "exponential - exponential": lambda rng, n: rng.exponential(1, n) - rng.exponential(1, n),
    "lognormal": lambda rng, n: rng.lognormal(0.0, 1.0, n) - float(np.exp(0.5)),
}
SEEDS = (3, 5, 10, 20)
SIMULATIONS = 2_000
IMAGES = ((3, 300), (5, 300), (10, 300), (5, 2000), (10, 2000))  # seeds, images
WINNERS = (1, 2, 5, 11)  # of one search, judged one after the other
LOOKS = 100  # seeds up to which the sequential mode looks, after every one


def draws(name: str, n: int, simulations: int) -> Iterator[np.ndarray]:
    """Simulated differences of n seeds, the same in every call."""
    rng = np.random.default_rng([n, *name.encode()])
    return (DISTRIBUTIONS[name](rng, n) for _ in range(simulations))


def t_coverage(name: str, n: int, simulations: int = SIMULATIONS) -> float:
    """Share of t-intervals that hold zero."""
    zeros = dict.fromkeys(range(n), 0.0)
    differences = (
        paired_difference(dict(enumerate(d)), zeros) for d in draws(name, n, simulations)
    )
    return float(np.mean([not difference.separated for difference in differences]))


def bca_coverage(name: str, n: int, simulations: int = SIMULATIONS) -> float:
    """Share of BCa intervals that hold zero."""
    intervals = [bca_interval(d, 0.95) for d in draws(name, n, simulations)]
    return float(np.mean([b is not None and b[0] <= 0.0 <= b[1] for b in intervals]))


def sign_flip_rate(name: str, n: int, simulations: int = SIMULATIONS) -> float:
    """Share of sign-flip p values below 5%."""
    return float(np.mean([sign_flip_p(d) <= 0.05 for d in draws(name, n, simulations)]))


def sequential_rate(name: str, simulations: int = SIMULATIONS, looks: int = LOOKS) -> float:
    """Share of simulations whose e-value ever reaches 20, looking after every seed from 2."""
    return float(
        np.mean(
            [
                any(e_value(d[:n]) >= 20 for n in range(2, looks + 1))
                for d in draws(name, looks, simulations)
            ]
        )
    )


def fixed_rate_under_looks(name: str, simulations: int, looks: int = LOOKS) -> float:
    """What looking does to the t test: share of simulations that are ever below 5%."""
    zeros = dict.fromkeys(range(looks), 0.0)
    return float(
        np.mean(
            [
                any(paired_difference(dict(enumerate(d[:n])), zeros).separated
                    for n in range(2, looks + 1))
                for d in draws(name, looks, simulations)
            ]
        )
    )  # fmt: skip


def sequential_family_rate(num_arms: int, simulations: int, looks: int = LOOKS) -> float:
    """The same for equal arms: ever a false claim about any pair, at any number of seeds."""
    rng, false = np.random.default_rng(num_arms), 0
    pairs = [(a, b) for a in range(num_arms) for b in range(a)]
    for _ in range(simulations):
        score_AR = rng.normal(0.0, 1.0, (num_arms, looks))
        false += any(
            e_value(score_AR[a, :n] - score_AR[b, :n]) >= len(pairs) / 0.05
            for a, b in pairs
            for n in range(2, looks + 1)
        )
    return false / simulations


def new_winners_rate(looks: int, simulations: int, *, counted: bool = True) -> float:
    """Share of searches that ever claim to beat an equal default, with 5 seeds.

    The search goes on after each verdict, and every time another config wins and is judged on the
    same seeds; counted: as such.
    """
    rng, false = np.random.default_rng(looks), 0
    for _ in range(simulations):
        default, *winners = rng.normal(0.9, 0.01, (1 + looks, 5))
        for look, winner in enumerate(winners, start=1):
            arms = {"poly": dict(enumerate(winner)), "baseline": dict(enumerate(default))}
            (claim,) = compare(arms, winners={"poly": look if counted else 1}).claims
            if claim.winner == "poly":
                false += 1
                break
    return false / simulations


def family_rate(num_arms: int, n: int, simulations: int = SIMULATIONS) -> float:
    """Share of comparisons of equal arms with any claim that one is better (Holm)."""
    rng, false = np.random.default_rng([num_arms, n]), 0
    for _ in range(simulations):
        score_AR = rng.normal(0.9, 0.01, (num_arms, n))
        arms = {f"arm{a}": dict(enumerate(score_R)) for a, score_R in enumerate(score_AR)}
        false += any(claim.winner for claim in compare(arms, min_effect=1e-9).claims)
    return false / simulations


def simulate_images(
    rng: np.random.Generator, num_seeds: int, num_images: int
) -> tuple[np.ndarray, float]:
    """Binary differences of two arms, and their true mean over all seeds and images.

    70% of images are easy for both arms (right with 0.98), 20% easier for the first (0.8, 0.6),
    10% for the second (0.5, 0.2); the middle ones move with the seed by +-0.1. Truth: 0.01.
    """
    kind_I = rng.choice(3, num_images, p=[0.7, 0.2, 0.1])
    first_K, second_K = np.array([0.98, 0.8, 0.2]), np.array([0.98, 0.6, 0.5])
    luck_S = rng.uniform(-0.1, 0.1, (2, num_seeds, 1)) * (kind_I == 1)
    correct = [
        rng.random((num_seeds, num_images)) < chance_K[kind_I] + luck
        for chance_K, luck in zip((first_K, second_K), luck_S, strict=True)
    ]
    return correct[0].astype(float) - correct[1], 0.2 * 0.2 - 0.1 * 0.3


def images_coverage(
    num_seeds: int, num_images: int, simulations: int = SIMULATIONS
) -> tuple[float, float]:
    """Share that holds the truth over fresh images: of seeds x images, of the t-interval."""
    rng = np.random.default_rng([num_seeds, num_images])
    both, seeds_only = [], []
    for _ in range(simulations):
        difference_SI, truth = simulate_images(rng, num_seeds, num_images)
        bounds = examples_interval(difference_SI)
        if bounds is None:  # equal means of all seeds: no interval, no claim
            continue
        both.append(bounds[0] <= truth <= bounds[1])
        d = paired_difference(
            dict(enumerate(difference_SI.mean(axis=1) - truth)), dict.fromkeys(range(num_seeds), 0)
        )
        seeds_only.append(not d.separated)
    return float(np.mean(both)), float(np.mean(seeds_only))


def main() -> None:
    """Print the tables in Markdown, shares in percent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=SIMULATIONS, help="of a cell")
    count = parser.parse_args().simulations
    few = max(1, count // 4)  # where every simulation looks a hundred times
    print_row("differences", *(f"n={n}" for n in SEEDS), "BCa n=20", "sign flips n=10")
    print_row(*["---"] * (len(SEEDS) + 3))
    for name in DISTRIBUTIONS:
        shares = [t_coverage(name, n, count) for n in SEEDS]
        print_row(name, *shares, bca_coverage(name, 20, count), sign_flip_rate(name, 10, count))
    print()
    print_row("2 to 100 seeds, a look at each", "e-value", "t test")
    print_row(*["---"] * 3)
    for name in DISTRIBUTIONS:
        looks = fixed_rate_under_looks(name, few)
        print_row(name, sequential_rate(name, count), looks)
    print_row("normal, any of the 6 pairs of 4 arms", sequential_family_rate(4, few), "")
    print()
    print_row("equal arms, n=5", "any false claim")
    print_row(*["---"] * 2)
    for num_arms in (2, 4, 6):
        print_row(str(num_arms), family_rate(num_arms, 5, count))
    print()
    print_row("winners judged, n=5", "ever a false beats", "if not counted")
    print_row(*["---"] * 3)
    for looks in WINNERS:
        rates = [new_winners_rate(looks, few, counted=counted) for counted in (True, False)]
        print_row(str(looks), *rates)
    print()
    print_row("seeds", "images", "seeds x images", "seeds only")
    print_row(*["---"] * 4)
    for seeds, images in IMAGES:
        print_row(str(seeds), str(images), *images_coverage(seeds, images, count))


def print_row(*cells: str | float) -> None:
    """A row of a table; numbers are shares."""
    texts = [cell if isinstance(cell, str) else f"{100 * cell:.1f}" for cell in cells]
    print(f"| {' | '.join(texts)} |", flush=True)


if __name__ == "__main__":
    main()
