"""The registry of spaces: what each adds to the common ranges and to its family's own."""

from __future__ import annotations

import importlib.util
import math

import pytest

import search_spaces
from search_spaces import COMMON
from search_spaces.families import FAMILIES
from search_spaces.space import Range, SearchSpace

FIFTH = Range(value=0.2, integer=True, relative=True)
ROOT = Range(value=math.sqrt(0.5))  # of the noise per stage, in the papers
PAPERS = {"interval": FIFTH, "factor": ROOT}
# kappa = sqrt(3)/2 of gamma = 1/sqrt(2): kappa = gamma^split.
HYBRID = Range(value=0.41503749927884376)

# Family, and what the space does not share with all of that family.
CHANGES: dict[str, tuple[str, dict[str, Range]]] = {
    **{name: (name, {}) for name in FAMILIES if name != "constant"},
    "constant": ("constant", {"interval": Range(value=1.0, integer=True, relative=True)}),
    "linear": ("poly", {"p": Range(value=1.0)}),
    "wsd_linear": ("wsd", {"p": Range(value=1.0)}),
    "wsd_sqrt": ("wsd_power_cool", {"q": Range(value=0.5)}),
    "warmup": ("cosine", {"warmup": Range(low=0.0, high=0.2)}),
    "floor": ("cosine", {"end": Range(low=0.0, high=0.5)}),
    "seesaw": ("cosine", {"split": Range(value=0.5)}),
    "momentum": ("poly", {"momentum_share": Range(value=1.0)}),
    "explicit": ("poly", {"radius0": Range(low=0.1, high=10.0, log=True)}),
    "lr": ("exp", PAPERS),
    "batch": ("exp", PAPERS | {"split": Range(value=0.0)}),
    "hybrid": ("exp", PAPERS | {"split": HYBRID}),
    "step": (
        "exp",
        {
            "interval": Range(low=0.05, high=0.5, log=True, integer=True, relative=True),
            "factor": Range(low=0.1, high=0.9, log=True),
        },
    ),
}


@pytest.fixture
def spaces() -> dict[str, SearchSpace]:
    """SPACES, built anew for every test: import is past when a mutant is tried."""
    spec = importlib.util.spec_from_file_location("search_spaces", search_spaces.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.SPACES)


@pytest.mark.parametrize("name", CHANGES)
def test_a_space_is_the_common_ranges_its_familys_and_its_own(
    name: str, spaces: dict[str, SearchSpace]
) -> None:
    family, changes = CHANGES[name]
    ranges = COMMON | FAMILIES[family].ranges | changes
    if "factor" in changes:  # per stage, in place of the whole
        ranges.pop("end_ratio")
    assert spaces[name] == SearchSpace(name=name, family=family, ranges=ranges)


def test_every_space_is_looked_at_here(spaces: dict[str, SearchSpace]) -> None:
    assert spaces == search_spaces.SPACES
    assert {*spaces} == {*CHANGES, "lr_batch"}
    assert spaces["lr_batch"].fixed == {"interval": 1, "split": 1.0}
    assert {*spaces["lr_batch"].free} == {"lr0", "batch0"}


def test_the_hybrid_split_is_that_of_the_papers() -> None:
    assert HYBRID.value == pytest.approx(math.log(math.sqrt(3) / 2) / math.log(math.sqrt(0.5)))
