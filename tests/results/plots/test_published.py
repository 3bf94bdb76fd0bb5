"""Published twins of our arms, and the figures that hold a measurement's numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import spearmanr

import results
from results.measurements.exchange import read_exchange
from results.measurements.functions import Solved, solved
from results.measurements.published import published_curves
from results.plots import PLOTS, save_plots, scale_line
from results.plots.papers.exchange import draw_exchange, exchange_info
from results.plots.papers.functions import draw_functions
from results.plots.papers.published import draw_published, published_info
from results.plots.style import save_figure
from results.records.store import RunStore
from search_spaces.records import Status
from search_spaces.trial import Recipe, TrialConfig
from tests.fakes.measurements import record
from tests.fakes.results import make_recipe, make_trial, write_run
from tests.results.measurements.test_exchange import write_experiment
from tuner.config.compose import compose
from tuner.config.presets import PAPER_PRESETS, scale_of

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

Z = 1.959963984540054  # 97.5% quantile of the normal
PAPERS = {
    "poly p=0.5": ("poly", {"p": 0.5}),
    "poly p=2.0": ("poly", {"p": 2.0}),
    "cosine": ("cosine", {}),
    "exponential": ("exp", {"end_ratio": 0.94**200}),
}
ACCURACY = {"poly p=0.5": 0.8, "poly p=2.0": 0.9, "cosine": 0.7, "exponential": 0.6}
LOSS = {"poly p=0.5": 0.02, "poly p=2.0": 0.01, "cosine": 0.03, "exponential": 0.04}


def arm(
    name: str, family: str, params: Mapping[str, float], *, recipe: Recipe | None = None
) -> TrialConfig:
    """A confirm trial lowered every epoch by lr alone, unless params say otherwise."""
    trial = make_trial("cosine", params, role="confirm", recipe=recipe or make_recipe())
    return replace(trial, space=name, family=family)


def write_arms(
    path: Path,
    trials: Sequence[TrialConfig],
    *,
    seeds: int = 2,
    status: Mapping[str, Status] | None = None,
) -> results.Run:
    """Seed s of an arm has its ACCURACY + 0.01 s, and its LOSS; diverged ones have no loss."""
    with RunStore.create(path, {}, "") as store:
        for trial in trials:
            how = (status or {}).get(trial.space, "completed")
            for seed in range(seeds):
                record(
                    store,
                    replace(trial, replicate=seed, seed=seed),
                    status=how,
                    accuracy=ACCURACY.get(trial.space, 0.5) + 0.01 * seed,
                    final_train_loss=LOSS.get(trial.space, 0.1) if how == "completed" else None,
                )
    return results.load(path)


def twins() -> list[TrialConfig]:
    return [arm(name, *curve) for name, curve in PAPERS.items()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> results.Run:
    return write_arms(tmp_path_factory.mktemp("runs") / "twins", twins())


def test_every_arm_finds_the_published_training_of_its_curve(run: results.Run) -> None:
    arms = published_info(run).arms
    assert {a.name: a.published.label for a in arms} == {name: name for name in PAPERS}
    assert all(a.accuracy.mean == pytest.approx(ACCURACY[a.name] + 0.005, abs=2e-3) for a in arms)
    assert all(a.train_loss.mean == LOSS[a.name] for a in arms)
    assert {(a.accuracy.n, a.train_loss.n) for a in arms} == {(2, 2)}


def test_the_ranks_are_compared_by_spearman(run: results.Run) -> None:
    info = published_info(run)
    theirs = {c.label: c for c in published_curves()}
    assert info.accuracy is not None
    assert info.train_loss is not None
    assert info.accuracy.rho == pytest.approx(
        spearmanr([theirs[n].last_test_accuracy for n in PAPERS], [ACCURACY[n] for n in PAPERS])[0]
    )
    assert info.train_loss.rho == pytest.approx(
        spearmanr([theirs[n].last_train_loss for n in PAPERS], [LOSS[n] for n in PAPERS])[0]
    )


@pytest.mark.parametrize(
    ("family", "params"),
    [
        ("poly", {"p": 0.7}),
        ("poly", {"p": 0.5, "interval": 2}),
        ("poly", {"p": 0.5, "split": 0.5}),
        ("poly", {"p": 0.5, "split": 0.0}),
        ("poly", {"p": 0.5, "momentum_share": 0.5}),
        ("poly", {"p": 0.5, "radius0": 0.1}),
        ("exp", {"end_ratio": 0.9**200}),
        ("exp", {"factor": 0.94}),
        ("constant", {}),
    ],
)
def test_an_arm_that_trained_otherwise_has_no_twin(
    family: str, params: dict[str, float], tmp_path: Path
) -> None:
    other = arm("other", family, params)
    info = published_info(write_arms(tmp_path / "run", [*twins(), other], seeds=1))
    assert {a.name for a in info.arms} == set(PAPERS)


def test_momentum_share_0_and_ones_own_lr_keep_the_twin(tmp_path: Path) -> None:
    params = {"p": 0.5, "momentum_share": 0.0, "lr0": 0.2, "batch0": 16}
    other = arm("other", "poly", params)
    info = published_info(write_arms(tmp_path / "run", [*twins(), other], seeds=1))
    assert info.arms[-1].published.label == "poly p=0.5"


def test_fewer_than_four_twins_show_nothing(tmp_path: Path) -> None:
    info = published_info(write_arms(tmp_path / "run", twins()[:3], seeds=1))
    assert (info.arms, info.accuracy, info.train_loss) == ((), None, None)


def test_the_solvers_of_a_function_are_no_trainings_of_a_network(tmp_path: Path) -> None:
    recipe = make_recipe(trainer="function", dataset="rastrigin", num_classes=0)
    trials = [arm(name, *curve, recipe=recipe) for name, curve in PAPERS.items()]
    assert published_info(write_arms(tmp_path / "run", trials, seeds=1)).arms == ()


def test_the_training_loss_is_that_of_the_confirmed_config(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", {}, "") as store:
        for trial in twins():
            bad = replace(trial, role="search", params=trial.params | {"delta0": 9.0})
            record(store, bad, accuracy=0.3, final_train_loss=7.0)
            record(store, trial, final_train_loss=LOSS[trial.space])
    info = published_info(results.load(tmp_path / "run"))
    assert {a.name: a.train_loss.mean for a in info.arms} == LOSS


def test_an_arm_that_always_diverged_counts_at_chance_and_has_no_loss(tmp_path: Path) -> None:
    run = write_arms(tmp_path / "run", twins(), status={"cosine": "diverged"})
    info = published_info(run)
    assert info.arms[2].accuracy.mean == 0.1
    assert (info.accuracy.n, info.train_loss.n) == (4, 3)  # type: ignore[union-attr]
    figure = Figure()
    draw_published(info, figure)
    assert "no rho" not in figure.axes[1].get_title()


def test_the_published_figure_has_a_title_and_a_dot_an_arm(run: results.Run) -> None:
    info, figure = published_info(run), Figure()
    PLOTS["published"].draw(info, figure)
    assert "arXiv 2311.08745" in figure.get_suptitle()
    assert "ours (n=2 seeds" in figure.get_suptitle()
    left, right = figure.axes
    assert left.get_title() == f"ranks: {info.accuracy}"
    assert right.get_title() == f"ranks: {info.train_loss}"
    assert len(left.containers) == len(right.containers) == 4
    drawn = {float(bar[0].get_xdata()[0]) for bar in left.containers}
    assert drawn == {100 * a.published.last_test_accuracy for a in info.arms}


# The exchange rate.


def test_the_exchange_figure_holds_the_responses_and_the_rates(tmp_path: Path) -> None:
    run = results.load(write_experiment(tmp_path, 4))
    exchange, figure = read_exchange(run), Figure()
    assert exchange_info(run)[0].sentence == exchange.sentence
    draw_exchange(exchange_info(run), figure)
    assert "n=4 paired seeds, 6 epochs" in figure.get_suptitle()
    left, right = figure.axes
    lr, batch = (bars[0] for bars in left.containers)
    assert lr.get_xdata().tolist() == exchange.drop_X.tolist()
    # log loss falls by 0.3 a halving, seed by seed; a batch stands at its equal, a k = 1
    assert [float(y) for y in lr.get_ydata()] == pytest.approx([0.0, -0.3, -0.6], abs=1e-12)
    assert [float(x) for x in batch.get_xdata()] == pytest.approx([1.0], abs=1e-6)
    assert [float(y) for y in batch.get_ydata()] == pytest.approx([-0.3], abs=1e-12)
    assert [label.get_text() for label in right.get_yticklabels()] == ["together", "to 64"]
    assert [text.get_text() for text in right.texts].count(f"{exchange.rate.a:.2f}") == 2


def exchange_trial(space: str, factor: float, replicate: int) -> TrialConfig:
    split = 0.0 if space == "batch" else 1.0
    trial = arm(space, "exp", {"interval": 3, "factor": factor, "split": split})
    return replace(trial, replicate=replicate, seed=replicate)


def write_exchange(path: Path, factors: Sequence[float]) -> results.Run:
    """Four seeds of which the last has a validation loss of 0, without a logarithm."""
    arms = [("lr", factor) for factor in factors] + [("batch", 0.5)]
    with RunStore.create(path, {}, "") as store:
        for space, factor in arms:
            for seed in range(4):
                lost = {6: {"stage": 1, "val_loss": 0.0 if seed == 3 else factor + seed}}
                record(store, exchange_trial(space, factor, seed), epochs=lost)
    return results.load(path)


def test_a_loss_without_a_logarithm_leaves_its_seed_out(tmp_path: Path) -> None:
    assert read_exchange(write_exchange(tmp_path / "run", (1.0, 0.5))).response_RX.shape == (3, 2)


def test_without_an_undivided_lr_there_is_no_exchange_rate(tmp_path: Path) -> None:
    run = write_exchange(tmp_path / "run", (0.5, 0.25))
    with pytest.raises(ValueError, match="with factor=1 among them"):
        read_exchange(run)
    assert exchange_info(run) == ()


def test_a_run_without_an_exchange_experiment_has_no_such_figure(run: results.Run) -> None:
    assert exchange_info(run) == ()


# Functions.


def write_function(path: Path, name: str, shares: Mapping[str, Sequence[float]]) -> results.Run:
    """Shares of 20 starts solved, by method and seed; f - f* is 1 less the share."""
    recipe = make_recipe(
        trainer="function", dataset=name, dataset_path="3", model="none", num_classes=0
    )
    manifest = {"num_test": 20, "recipe": asdict(recipe)}
    with RunStore.create(path, manifest, "") as store:
        for method, seeds in shares.items():
            trial = arm(method, "cosine", {}, recipe=recipe)
            record(store, replace(trial, role="search"), accuracy=0.5)
            for seed, share in enumerate(seeds):
                metrics = {"test_accuracy": share, "test_loss": 1 - share}
                record(store, replace(trial, replicate=seed, seed=seed), accuracy=0.5, **metrics)
    return results.load(path)


def wilson(solved: int, starts: int) -> tuple[float, float]:
    """Wilson 1927: (p + z^2/2n -+ z sqrt(p (1-p)/n + z^2/4n^2)) / (1 + z^2/n)."""
    p, z2 = solved / starts, Z * Z / starts
    half = Z * math.sqrt(p * (1 - p) / starts + z2 / (4 * starts))
    return (p + z2 / 2 - half) / (1 + z2), (p + z2 / 2 + half) / (1 + z2)


def test_starts_are_pooled_over_seeds_with_wilsons_interval(tmp_path: Path) -> None:
    runs = [
        write_function(tmp_path / "a", "sphere", {"poly": (0.25, 0.5), "basin": (1.0, 1.0)}),
        write_function(tmp_path / "b", "ackley", {"poly": (0.0,)}),
    ]
    table = solved(runs)
    assert [(e.function, e.method) for e in table] == [
        ("sphere", "poly"), ("sphere", "basin"), ("ackley", "poly"),
    ]  # fmt: skip
    assert [(e.num_solved, e.num_starts) for e in table] == [(15, 40), (40, 40), (0, 20)]
    assert [e.share for e in table] == [0.375, 1.0, 0.0]
    assert [e.error for e in table] == pytest.approx([0.625, 0.0, 1.0])
    for entry in table:
        expected = wilson(entry.num_solved, entry.num_starts)
        assert (entry.low, entry.high) == pytest.approx(expected, abs=1e-12)


def test_trainings_of_networks_are_no_methods(run: results.Run) -> None:
    assert solved([run]) == []
    assert solved([]) == []


def entry(function: str, method: str, error: float, num_solved: int = 3) -> Solved:
    return Solved(
        function=function, method=method, error=error, num_solved=num_solved, num_starts=20,
        low=0.0, high=1.0,
    )  # fmt: skip


def test_the_functions_figure_holds_a_field_a_method_and_function(tmp_path: Path) -> None:
    table = [entry("sphere", "poly p=1", 0.0), entry("sphere", "basin", 2.5, 20)]
    table += [entry("ackley", "basin", math.inf, 0), entry("ackley", "poly p=1", math.nan, 0)]
    figure = Figure()
    draw_functions(table, "D = 3", figure)
    axes = figure.axes[0]
    fields = [text.get_text().split() for text in axes.texts]
    assert fields == [["0", "3/20"], ["2.5", "20/20"], ["inf", "0/20"], ["nan", "0/20"]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["poly\np=1", "basin"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sphere", "ackley"]
    assert axes.get_xlabel().endswith("D = 3")
    np.testing.assert_array_equal(axes.images[0].get_array(), [[1e-6, 2.5], [np.nan, 1e4]])
    save_figure(partial(draw_functions, table, "D = 3"), tmp_path / "new" / "functions.png")
    assert (tmp_path / "new" / "functions.png").stat().st_size > 1000


# The footer, and the scale it tells.


def footer(tmp_path: Path, unit: str | None = None, **changes: object) -> str:
    """Of a run with 3 confirm seeds."""
    manifest = {
        "recipe": asdict(make_recipe(**changes)),
        "config": {"unit": unit},
        "scale": "not the paper's scale",
    }
    with RunStore.create(tmp_path / "run", manifest, "") as store:
        for seed in range(3):
            record(store, replace(make_trial(role="confirm"), replicate=seed, seed=seed))
    return scale_line(results.load(tmp_path / "run"))


def test_the_footer_names_model_data_length_seeds_and_scale(tmp_path: Path) -> None:
    line = "mlp on digits, 6 epochs of 1,200 images, 3 confirm seeds (not the paper's scale)"
    assert footer(tmp_path) == line


def test_the_footer_of_a_function_names_no_model(tmp_path: Path) -> None:
    line = footer(tmp_path, model="none", dataset="ackley", trainer="function", epochs=1)
    assert line.startswith("ackley, 1 epoch of 1,200 samples, 3 ")


def test_the_footer_counts_what_the_run_calls_its_samples(tmp_path: Path) -> None:
    assert "6 epochs of 1,200 tokens" in footer(tmp_path, unit="tokens")


def test_the_footer_of_runs_without_a_recipe_is_empty(tmp_path: Path) -> None:
    assert scale_line(results.load(write_run(tmp_path / "run", trials=1, seeds=1))) == ""


def test_figures_carry_the_footer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = footer(tmp_path)
    monkeypatch.setattr("results.plots.PLOTS", {"curves": PLOTS["curves"]})
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        (path,) = save_plots(results.load(tmp_path / "run"), tmp_path / "plots", ("svg",))
    assert line in path.read_text().replace("&apos;", "'")


@pytest.mark.parametrize("preset", PAPER_PRESETS)
def test_an_unchanged_preset_has_the_papers_scale(preset: str) -> None:
    published = PAPER_PRESETS[preset]
    told = scale_of(compose([f"preset={preset}"]))
    assumed = f": assumed is {published.assumed}" if published.assumed else ""
    assert told == f"the paper's scale ({published.figure}){assumed}"


@pytest.mark.parametrize("preset", ["p1_methods", "p1_methods_wrn", "p1_methods_imagenet"])
def test_first_batches_that_no_source_tells_are_said_to_be_assumed(preset: str) -> None:
    """They are stripped from our copy of Figs 10-12 (PAPERS.md 1.3)."""
    assert "assumed is batch 32 at first in every" in scale_of(compose([f"preset={preset}"]))


MEASURED_OTHERWISE = [
    ("p1_sharpness", "sharpness.rho=0.001", "sharpness.rho=0.001 (0.0002)"),
    ("p1_sharpness", "sharpness.adaptive=false", "sharpness.adaptive=False (True)"),
    ("p1_sharpness", "sharpness.iterations=5", "sharpness.iterations=5 (20)"),
    ("p1_sharpness", "measure=[noise]", "no measure=sharpness"),
    ("p1_critical", "critical.epsilon=[2]", "critical.epsilon=[2.0] ([0.5, 0.7, 1.0])"),
    ("p1_critical", "critical.min_epochs=2", "critical.min_epochs=2 (11)"),
    ("p1_noise", "measure=[noise]", "no measure=sampling"),
]


@pytest.mark.parametrize(("preset", "word", "told"), MEASURED_OTHERWISE)
def test_what_a_figure_measures_is_part_of_its_scale(preset: str, word: str, told: str) -> None:
    figure = PAPER_PRESETS[preset].figure
    scale = scale_of(compose([f"preset={preset}", word]))
    assert scale == f"not the paper's scale ({figure}): {told}"


def test_what_a_figure_does_not_measure_is_not() -> None:
    words = ["preset=p1_schedules", "measure=[sharpness]", "sharpness.rho=0.001"]
    assert scale_of(compose(words)).startswith("the paper's scale (2311.08745 Figs 4-7, 13)")


@pytest.mark.parametrize("preset", ["p1_schedules_cpu", "aaai_functions_cpu"])
def test_the_small_form_of_a_preset_has_not(preset: str) -> None:
    assert scale_of(compose([f"preset={preset}"])).startswith("not the paper's scale (")


@pytest.mark.parametrize(
    ("word", "scale"),
    [
        ("epochs=199", "not the paper's scale"),
        ("workload=cifar10_resnet18", "not the paper's scale"),
        (
            "precision=bf16",
            "not the paper's scale (2311.08745 Figs 4-7, 13): precision=bf16 (fp32)",
        ),
        (
            "dataset.val_fraction=0.1",
            "not the paper's scale (2311.08745 Figs 4-7, 13): dataset.val_fraction=0.1 (0.0)",
        ),
        ("workload=cifar100_wrn28x10", "the paper's scale (2311.08745 Fig 14)"),
        ("model=resnet20", "not the paper's scale"),
        ("model.width=8", "not the paper's scale"),
        ("dataset.train_examples=1000", "not the paper's scale"),
        ("batch.initial=64", "not the paper's scale"),
        ("lr=0.2", "not the paper's scale"),
        ("optimizer.momentum=0.9", "not the paper's scale"),
        ("confirm.seeds=2", "not the paper's scale"),
        ("confirm.seeds=4", "the paper's scale"),
        ("measure=noise", "the paper's scale"),
        ("dataset.path=/data", "the paper's scale"),
    ],
)
def test_a_changed_size_is_no_longer_the_papers(word: str, scale: str) -> None:
    assert scale_of(compose(["preset=p1_schedules", word])).startswith(scale)


def test_the_precision_that_the_machine_settled_is_stated() -> None:
    config = compose(["preset=p1_schedules", "precision=auto"])
    assert scale_of(config, "fp32").startswith("the paper's scale (2311.08745 Figs 4-7, 13)")
    assert scale_of(config, "bf16").endswith(": precision=bf16 (fp32)")


# Figure -> network, data, epochs (PAPERS.md 1.3, 8.2); 50,000 and 1,281,167 images trained on.
FIGURES = {
    "p1_schedules": ("resnet18", "cifar100", 200),
    "p1_schedules_wrn": ("wrn28x10", "cifar100", 200),
    "p1_methods": ("resnet18", "cifar100", 200),
    "p1_methods_wrn": ("wrn28x10", "cifar100", 200),
    "p1_methods_imagenet": ("resnet34", "imagenet", 200),
    "aaai_shb": ("resnet34", "imagenet", 100),
    "aaai_algorithm6": ("resnet18", "cifar100", 200),
}


@pytest.mark.parametrize("preset", FIGURES)
def test_a_figures_preset_trains_what_the_figure_shows(preset: str) -> None:
    config = compose([f"preset={preset}"])
    assert (config.model.name, config.dataset.name, config.epochs) == FIGURES[preset]
    assert (config.dataset.val_fraction, config.dataset.train_examples) == (0.0, None)
    assert (config.precision, config.confirm.seeds >= 3) == ("fp32", True)


@pytest.mark.parametrize("preset", [name for name, preset in PAPER_PRESETS.items() if preset.cpu])
def test_the_small_form_is_told_to_be_of_its_own_figure(preset: str) -> None:
    """Not of another with these arms that differs in fewer settings by chance."""
    told = scale_of(compose([f"preset={preset}_cpu"]))
    assert told.startswith(f"not the paper's scale ({PAPER_PRESETS[preset].figure}): ")


def test_a_figure_nearly_as_published_is_named_by_its_network_and_data() -> None:
    words = ["preset=p1_methods", "workload=cifar100_wrn28x10", "epochs=60"]
    told = scale_of(compose(words))
    assert told == "not the paper's scale (2311.08745 Fig 11): epochs=60 (200)"


def test_the_dimension_of_a_function_is_its_scale() -> None:
    assert scale_of(compose(["preset=aaai_functions", "dataset.path=10"])).startswith("not")


@pytest.mark.parametrize("preset", ["none", "measure_noise"])
def test_what_reproduces_nothing_has_no_scale(preset: str) -> None:
    assert scale_of(compose([f"preset={preset}"])) == ""
