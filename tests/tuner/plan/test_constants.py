"""C^2 and K belong to a workload and an optimizer; those of another training are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.config.compose import compose
from tuner.config.presets import PRESETS
from tuner.config.schema import Config
from tuner.config.workloads import WORKLOADS
from tuner.plan.constants import describe_constants
from tuner.plan.plan import make_plan
from tuner.plan.spaces import make_spaces

# C^2 and K as the papers' code has them, by optimizer and network (PAPERS.md 2).
PAPERS = [
    ("aaai_shb", "cifar100_resnet18", 25.318, 1.77),
    ("aaai_algorithm6", "cifar100_resnet18", 25.318, 1.77),
    ("aaai_shb", "cifar100_wrn28x10", 0.79, 1.66),
    ("aaai_nshb", "cifar100_resnet18", 128.0, 4.5),
    ("aaai_nshb", "cifar100_wrn28x10", 1.0, 4.262),
    ("p1_methods", "cifar100_resnet18", 1280.0, None),  # of K nothing is known, nor needed
    ("p1_methods", "cifar100_wrn28x10", 10.0, None),
]


def noted(config: Config) -> str:
    return describe_constants(config, make_spaces(config, delta_ref=1.0))


@pytest.mark.parametrize(("preset", "workload", "c2", "k"), PAPERS)
def test_a_preset_has_the_constants_of_its_workload(
    preset: str, workload: str, c2: float, k: float | None
) -> None:
    config = compose([f"preset={preset}", f"workload={workload}"])
    assert (config.noise.c2, config.noise.k) == (c2, k)
    assert noted(config) == ""


@pytest.mark.parametrize("preset", ["aaai_shb_cpu", "aaai_algorithm6_cpu"])
def test_the_cpu_forms_have_constants_measured_on_the_digits(preset: str) -> None:
    noise = compose([f"preset={preset}"]).noise
    assert noise.source == "measured"
    assert (noise.c2, noise.k) not in [(c2, k) for *_, c2, k in PAPERS]


def test_where_constants_would_only_label_delta_it_is_told_in_units_of_c() -> None:
    noise = compose(["preset=aaai_nshb_cpu"]).noise
    assert (noise.c2, noise.k, noise.law) == (None, None, "nshb_b")


def test_what_is_given_and_what_a_users_own_workload_says_wins(tmp_path: Path) -> None:
    given = compose(["preset=aaai_algorithm6", "noise.c2=7", "noise.k=2"])
    assert (given.noise.c2, given.noise.k, noted(given)) == (7.0, 2.0, "")
    (tmp_path / "workload").mkdir()
    text = "dataset: digits\nmodel: resnet8\nlr: 0.1\nbatch: {initial: 8}\nnoise: {c2: 3, k: 4}\n"
    (tmp_path / "workload" / "cifar100_resnet18.yaml").write_text(text + "epochs: 2\n")
    own = compose(["preset=aaai_shb", "workload=cifar100_resnet18"], str(tmp_path))
    assert (own.noise.c2, own.noise.k, noted(own)) == (3.0, 4.0, "")


def test_what_is_given_by_hand_is_not_said_to_be_measured(tmp_path: Path) -> None:
    (tmp_path / "workload").mkdir()
    text = "dataset: digits\nmodel: resnet8\nlr: 0.1\nbatch: {initial: 8}\nepochs: 2\n"
    text += "noise: {c2: 3, k: 4, source: measured}\n"
    (tmp_path / "workload" / "own.yaml").write_text(text)
    for words in (["workload=digits", "optimizer=shb"], ["workload=own"]):
        assert compose(words, str(tmp_path)).noise.source == "measured"
        assert compose([*words, "noise.c2=7"], str(tmp_path)).noise.source is None
        told = compose([*words, "noise.c2=7", "noise.source=measured"], str(tmp_path)).noise
        assert (told.c2, told.source) == (7.0, "measured")


FOREIGN = [
    (
        "workload=cifar100_resnet18 model=resnet20",
        "noise.c2=1280 is of resnet18 on cifar100 under sgd, not of resnet20 on cifar100 under "
        "sgd, and labels delta",
    ),
    (
        "preset=aaai_nshb optimizer=shb model.width=8",
        "noise.c2=25.318 is of resnet18 on cifar100 under shb, not of resnet18",
    ),
    ("workload=cifar100_resnet18 optimizer=adamw", "under sgd, not of resnet18 on cifar100 under"),
    (
        "preset=aaai_algorithm6 workload=cifar10_resnet20",
        "noise.law=shb: C^2 and K of resnet20 on cifar10 under shb are not known: 1 and 0 shape",
    ),
]


@pytest.mark.parametrize(("words", "told"), FOREIGN)
def test_constants_of_another_training_are_told(words: str, told: str) -> None:
    assert told in noted(compose(words.split()))


@pytest.mark.slow
@pytest.mark.parametrize("k", ["", "noise.k=null", "noise.k=0"])
def test_k_may_be_unknown_which_is_told_where_it_shapes_a_schedule(k: str) -> None:
    """Null counts as 0; a 0 that was typed is one that is known."""
    words = ["preset=aaai_algorithm6", "workload=cifar10_resnet20", "noise.c2=7", *k.split()]
    config = compose(words)
    assert make_plan(config).recipe.k == 0.0
    told = "noise.law=shb: K of resnet20 on cifar10 under shb is not known: 0 shapes the schedules"
    assert noted(config).startswith(told) == (k != "noise.k=0")


SETTINGS = [
    (
        "preset=p1_methods lr=0.01",
        "noise.c2=1280 is of lr 0.1 and momentum 0, not of lr 0.01 (12800 by Table 2), and labels",
    ),
    ("preset=p1_methods lr=0.2", "of lr 0.1 and momentum 0, not of lr 0.2, and labels delta"),
    ("preset=p1_methods lr=0.05", ""),  # Table 2 has 1280 there too
    ("preset=p1_methods optimizer.momentum=0.5", "and momentum 0, not of momentum 0.5, and"),
    ("preset=aaai_shb workload=cifar100_resnet18 lr=0.05", "momentum 0.9, not of lr 0.05, and"),
    ("preset=aaai_shb workload=cifar100_wrn28x10 optimizer.momentum=0.8", "not of momentum 0.8"),
    ("preset=p1_methods lr=0.01 noise.c2=12800", ""),
    # Measured by the preset itself at each, and told of the labels all the same.
    ("preset=p1_sharpness", "not of lr 0.01 (12800 by Table 2), lr 0.5 (256 by Table 2), and"),
    ("workload=cifar100_resnet18", "momentum 0, not of momentum 0.9, and labels delta"),
]


@pytest.mark.parametrize(("words", "told"), SETTINGS)
def test_constants_of_another_lr_or_momentum_are_told(words: str, told: str) -> None:
    found = noted(compose(words.split()))
    assert told in found
    assert bool(found) == bool(told)


def test_no_other_preset_or_workload_of_ours_has_foreign_constants() -> None:
    for name in PRESETS:
        if name not in ("p1_sharpness", "p1_critical"):  # four learning rates, one label
            assert noted(compose([f"preset={name}"])) == ""
    for name in WORKLOADS:
        if name not in ("custom", "user") and not name.startswith("cifar100"):
            assert noted(compose([f"workload={name}"])) == ""
