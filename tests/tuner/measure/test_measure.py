"""`python -m tuner.measure`: its words, its reports, and the workload that it writes."""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import results
from results.measurements import MEASUREMENTS as REPORTS
from results.measurements.critical import read_critical
from results.measurements.equivalence import read_equivalence
from results.measurements.exchange import read_exchange
from results.measurements.noise import read_noise
from results.measurements.sampling import read_sampling
from results.measurements.sharpness import Panel, read_sharpness
from results.records.store import RunStore
from tests.conftest import ROOT, ClusterProcess
from tests.fakes.measurements import (
    MEASUREMENTS,
    constant_trial,
    noise,
    record,
    sample,
    write_measured,
    write_steps,
)
from tests.fakes.processes import ready
from tests.fakes.results import make_recipe, make_trial, write_trial
from tests.fakes.tune_loop import do_without_ray
from tests.results.measurements.test_exchange import write_experiment
from tuner.config.compose import compose
from tuner.config.presets import PRESETS
from tuner.config.schema import ConfigError, plain
from tuner.measure import functions
from tuner.measure.__main__ import main
from tuner.measure.reports import report as print_report
from tuner.measure.reports import write_workload
from tuner.plan.plan import make_plan
from tuner.session import cluster
from tuner.session.cluster import ENVIRONMENT

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

Captured = pytest.CaptureFixture[str]
MINE = "dataset: {name: digits}\nmodel: {name: resnet8, width: 4}\nlr: 0.05\nepochs: 6\n"
MINE += "optimizer: {name: sgd, momentum: 0.5}\nbatch: {initial: 16}\n"


def write_mine(folder: Path, text: str = MINE) -> None:
    """A user's own workload, for --config-dir."""
    (folder / "workload").mkdir()
    (folder / "workload" / "mine.yaml").write_text(text)


# The words.


def test_without_words_the_usage_is_shown_and_nothing_measured(capsys: Captured) -> None:
    assert main([]) == 2
    assert main(["noise", "--help"]) == main(["-h"]) == 0
    out = capsys.readouterr().out
    assert out.count("usage: python -m tuner.measure WHAT") == 3
    assert all(f"\n  {what} " in out for what in (*REPORTS, "functions"))


BAD = [
    ("noize", "cannot measure 'noize'; did you mean 'noise'?"),
    ("functons", "cannot measure 'functons'; did you mean 'functions'? (known: noise, critical"),
    ("noise --write", "--write needs a folder"),
    ("noise --write= workload=digits", "--write needs a folder"),
    ("noise --write workload=digits", "--write needs a folder"),
    (f"noise --write {__file__}/mine", "is not a folder one can write to"),
    ("critical --write mine", "only `noise` has something to write, not critical"),
    ("functions --write=mine", "only `noise` has something to write, not functions"),
    ("noise epoch=3", "unknown key 'epoch'; did you mean 'epochs'?"),
    ("noise workload=rastrigin", "only networks can be measured"),
    ("noise resume=nowhere", "resume=nowhere: no run there"),
    ("noise preset=p1_methods_cpu", "would not measure noise; add 'measure=[noise]'"),
    ("noise measure=critical", "would not measure noise; add 'measure=[critical,noise]'"),
    ("functions functions=rastrign", "unknown function 'rastrign'; did you mean 'rastrigin'?"),
    ("functions functions=ackley,ackley", "functions=ackley,ackley: each may be named once"),
    ("functions workload=sphere", "'workload=sphere': not with `functions`"),
    ("functions --cfg", "'--cfg': not with `functions`"),
    ("functions functions=ackley epoch=3", "unknown key 'epoch'"),
    ("functions functions=ackley,sphere dataset.path=1", "`dimension in 2..10000` must hold"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[words for words, _ in BAD])
def test_a_mistake_is_one_line_and_exit_code_2_and_makes_nothing(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_second_function_whose_run_exists_is_refused_before_the_first_starts(
    tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "mine-sphere").mkdir()
    (tmp_path / "mine-sphere" / "notes.txt").touch()
    words = ["functions", "functions=ackley,sphere", "name=mine", f"runs_dir={tmp_path}"]
    assert main(words) == 2
    assert "mine-sphere holds no run; use another name" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine-sphere"]


def test_the_runs_of_all_functions_share_a_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: list[bool] = []

    def run(*_: object) -> int:
        shared.append(cluster._is_shared)
        return 2 * (len(shared) == 2)  # the second is refused, and ends it

    monkeypatch.setattr(functions, "run_command", run)
    words = ["functions", "functions=ackley,sphere,rastrigin", f"runs_dir={tmp_path}"]
    assert main(words) == 2
    assert shared == [True, True]
    assert not cluster._is_shared


@pytest.mark.slow
def test_a_dry_run_of_functions_reports_and_makes_nothing(
    tmp_path: Path, capsys: Captured
) -> None:
    small = ("dataset.path=2", "epochs=2", "dataset.train_examples=10", "batch.initial=5")
    words = ("functions=sphere,ackley", "space=poly", "dry_run=true", f"runs_dir={tmp_path}/new")
    assert main(["functions", *words, *small]) == 0
    out = capsys.readouterr().out
    assert "sphere (1 of 2)" in out
    assert "ackley (2 of 2)" in out
    assert list(tmp_path.iterdir()) == []


def printed_config(capsys: Captured, *words: str):
    assert main([*words, "--cfg"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "choices"),
    [
        ((), [8, 16, 32, 64, 128, 256, 512, 1024]),  # 1150 of 1437 digits are trained on
        (("dataset.train_examples=100",), [8, 16, 32, 64]),
        (("dataset.train_examples=100", "batch.max=40"), [8, 16, 32]),
        (("dataset.train_examples=100", "spaces.lr_batch.lr0.value=0.05"), [8, 16, 32, 64]),
        (("spaces.lr_batch.batch0.value=6",), None),
    ],
)
def test_critical_tries_the_powers_of_2_that_fit_unless_told_otherwise(
    words: tuple[str, ...], choices: list[int] | None, capsys: Captured
) -> None:
    config = printed_config(capsys, "critical", *words)
    assert config["preset"] == "measure_critical"
    assert config["spaces"]["lr_batch"]["batch0"]["choices"] == choices


def test_critical_finds_the_batches_of_a_users_own_workload(
    tmp_path: Path, capsys: Captured
) -> None:
    write_mine(tmp_path, MINE.replace("{name: digits}", "{name: digits, train_examples: 20}"))
    config = printed_config(capsys, "critical", "workload=mine", "--config-dir", str(tmp_path))
    assert config["spaces"]["lr_batch"]["batch0"]["choices"] == [8, 16]


def test_every_measurement_has_its_preset_unless_another_is_named(capsys: Captured) -> None:
    named = [what for what in REPORTS if f"measure_{what}" in PRESETS]
    assert len(named) >= 6
    for what in REPORTS:  # one without arms of its own is along the recipe's training
        expected = f"measure_{what}" if what in named else "measure_noise"
        assert printed_config(capsys, what)["preset"] == expected
    assert printed_config(capsys, "noise", "preset=p1_noise_cpu")["preset"] == "p1_noise_cpu"


# The workload that `--write` writes.


def write_noise(
    run_dir: Path, c2s: Sequence[float] = (100.0, 400.0), config: object = None
) -> Path:
    """The baseline of three seeds and a diverged fourth; K is the largest norm, 4."""
    trial = make_trial("baseline", role="confirm", recipe=make_recipe(measurements=MEASUREMENTS))
    manifest = {"config": config or plain(compose(["workload=digits", "epochs=7"]))}
    with RunStore.create(run_dir, manifest, "") as store:
        for seed in range(3):
            measured = {e: noise(c2, largest=2.0 + seed) for e, c2 in enumerate(c2s, start=1)}
            record(store, replace(trial, replicate=seed, seed=seed), epochs=measured)
        worse = {1: noise(1e9, largest=1e9)}
        record(store, replace(trial, replicate=3, seed=3), status="diverged", epochs=worse)
    return run_dir


def test_what_is_written_is_a_workload_with_measured_constants(tmp_path: Path) -> None:
    path = write_workload(write_noise(tmp_path / "run"), tmp_path / "new" / "mine")
    assert path == tmp_path / "new" / "mine" / "workload" / "digits_measured.yaml"
    assert path.read_text().startswith("# C^2 = 200, measured by run run on ")
    assert (
        "# K is the largest gradient norm of a measuring batch: this run did" in path.read_text()
    )
    config = compose(["workload=digits_measured"], str(tmp_path / "new" / "mine"))
    recipe = make_plan(config).recipe
    # geometric mean of 100 and 400
    assert (recipe.c2, recipe.k, recipe.c2_source) == (pytest.approx(200.0), 4.0, "measured")
    original = make_plan(compose(["workload=digits", "epochs=7"])).recipe  # as it was measured
    for name in ("dataset", "model", "width", "optimizer", "epochs", "batch0", "train_examples"):
        assert getattr(recipe, name) == getattr(original, name)


def test_a_users_own_workload_is_written_whole(tmp_path: Path) -> None:
    write_mine(tmp_path)
    config = compose(["workload=mine", "preset=measure_noise"], str(tmp_path))
    write_workload(write_noise(tmp_path / "run", config=plain(config)), tmp_path / "out")
    written = compose(["workload=mine_measured"], str(tmp_path / "out"))
    original = compose(["workload=mine"], str(tmp_path))
    assert make_plan(written).recipe.c2_source == "measured"
    for key in ("dataset", "model", "optimizer", "lr", "batch", "epochs", "measure", "search"):
        assert getattr(written, key) == getattr(original, key)


def test_a_workload_of_ones_own_code_is_written_without_its_names(tmp_path: Path) -> None:
    write_mine(tmp_path)
    code = "model=tests.fakes.users_code:linear_model"
    config = compose(["workload=mine", code, "model.width=null"], str(tmp_path))
    write_workload(write_noise(tmp_path / "run", config=plain(config)), tmp_path / "out")
    written = compose(["workload=mine_measured", code], str(tmp_path / "out"))
    assert make_plan(written).recipe.model == "tests.fakes.users_code:linear_model"


@pytest.mark.parametrize("c2s", [(), (0.0, float("nan"))])
def test_without_a_positive_constant_nothing_is_written(c2s, tmp_path: Path) -> None:
    run_dir = write_noise(tmp_path / "run", c2s)
    with pytest.raises(ConfigError, match="nothing was measured, so nothing is written"):
        write_workload(run_dir, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_recipes_own_curve_is_written_with_its_parameters(tmp_path: Path) -> None:
    curve = ["recipe.family=wsd", "recipe.f=0.4", "recipe.p=2", "recipe.end=0.1"]
    for words, out in ((curve, "built_in"), (["recipe.family=os.path:join", "recipe.f=1"], "own")):
        config = compose(["workload=digits", *words])
        write_workload(write_noise(tmp_path / out / "run", config=plain(config)), tmp_path / out)
    recipe = compose(["workload=digits_measured"], str(tmp_path / "built_in")).recipe
    assert (recipe.family, recipe.params, recipe.end) == ("wsd", {"f": 0.4, "p": 2.0}, 0.1)
    assert compose(["workload=digits_measured"], str(tmp_path / "own")).recipe.family == "cosine"


# The reports.


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> results.Run:
    return write_measured(tmp_path_factory.mktemp("runs") / "measured")


Report = Callable[[str, Path], str]


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Report:
    """What a report prints; without figures, which take seconds and have tests of their own."""
    monkeypatch.setattr("results.plots.PLOTS", {})

    def printed(what: str, run_dir: Path) -> str:
        capsys.readouterr()
        print_report(what, run_dir)
        return capsys.readouterr().out

    return printed


def test_every_report_tells_what_was_trained(measured: results.Run, report: Report) -> None:
    (run_dir,) = measured.dirs
    for what in REPORTS:
        head = "\nmlp on digits, 6 epochs, 4 seeds, 19 trainings, 1 of them diverged\n"
        assert report(what, run_dir).startswith(head)


def test_noise_prints_the_constants_of_every_arm(measured: results.Run, report: Report) -> None:
    out = report("noise", measured.dirs[0])
    constants = read_noise(measured)
    assert len(constants) == 6
    for arm, c in constants.items():
        interval = f"[{c.low:.4g}, {c.high:.4g}]"
        assert f"{arm}: C^2 = {c.c2:.4g} {interval}, from {c.first:.4g} at first" in out
    assert out.count("K = 2\n") == out.count("(geometric mean over 2 measurements, n=3 seeds") == 6
    assert "estimator two_batch, augmented batches drawn with replacement; BatchNorm in " in out
    assert "BatchNorm in eval mode: not the gradients of the training's steps" in out


def test_critical_prints_b_star_and_what_follows(
    measured: results.Run, report: Report, tmp_path: Path
) -> None:
    out = report("critical", measured.dirs[0])
    assert out.count("epsilon 1: no batch got there; train longer or raise it") == 2
    for critical in read_critical(measured):
        assert critical.b_star in (None, 8)
        bound = f"C^2 < {critical.c2_bound or math.nan:.4g}; batches within 10% of its cost: 8, 32"
        known = f"sgd lr {critical.lr:g}, epsilon 0.5: b* = 8 (n=3 seeds), {bound}" in out
        assert known == (critical.epsilon == 0.5)
    assert "the rule is looked at after 1 epoch (the authors' after 11)" in out
    # one epoch of 1200 images: 38 steps of 32, so step 39 is the first looked at
    write_steps(tmp_path / "run", {8: (400, 400), 16: (200, None), 32: (39, 39)})
    out = report("critical", tmp_path / "run")
    assert "b* = 32 (n=2 seeds), no bound follows; batches within 10% of its cost: 32\n" in out
    assert "b* stopped at the first step looked at" in out
    assert "batch 16: only 1 seeds got there" in out


def test_sampling_prints_size_and_shape_by_batch(measured: results.Run, report: Report) -> None:
    out = report("sampling", measured.dirs[0])
    for arm in read_sampling(measured):
        assert f"batch {arm.batch_size}: sqrt(b)*|noise| (an estimate of C) epoch 2: " in out
        assert f"epoch 6: {arm.scaled_norm[6]}" in out
        assert f"  at epoch 6: {arm.verdict}; skewness {arm.skewness}; " in out
        assert f"excess kurtosis {arm.excess_kurtosis}; KS distance {arm.ks} (a normal's:" in out


def test_sharpness_prints_every_correlation(measured: results.Run, report: Report) -> None:
    out = report("sharpness", measured.dirs[0])
    info = read_sharpness(measured)
    assert "18 trainings; Spearman's rho between configs" in out
    assert len(info.correlations) == out.count(" against ") == 5
    rho = info.correlations[Panel("batch_size", "sharpness")]
    assert f"sharpness (increase of the loss) against batch size: {rho}" in out
    assert f"highest mean test accuracy at delta = {info.best_delta:.4g}" in out


def test_exchange_prints_every_rate_or_what_is_missing(report: Report, tmp_path: Path) -> None:
    run_dir = write_experiment(tmp_path / "enough", 4)
    exchange = read_exchange(results.load(run_dir))
    out = report("exchange", run_dir)
    assert exchange.sentence in out
    assert f"  batch 32 -> 64 alone: {exchange.by_growth[0].text}" in out
    out = report("exchange", write_experiment(tmp_path / "few", 2))
    assert "no exchange rate: an exchange rate needs at least 3 seeds in every arm" in out


NOTHING = {what: "nothing was measured\n" for what in REPORTS} | {
    "exchange": "no exchange rate: no exchange experiment here"
}


@pytest.mark.parametrize("role", ["search", "confirm"])
@pytest.mark.parametrize("status", ["completed", "failed"])
def test_where_nothing_was_measured_the_reports_say_so(
    role, status, report: Report, tmp_path: Path
) -> None:
    with RunStore.create(tmp_path / "run", {}, "") as store:
        write_trial(store, make_trial("cosine", role=role), status=status)
    for what, sentence in NOTHING.items():
        out = report(what, tmp_path / "run")
        assert out.startswith("\nmlp on digits, 6 epochs, 1 seeds, 1 trainings")
        assert sentence in out


def test_a_run_without_a_trial_is_a_mistake_in_one_line(tmp_path: Path) -> None:
    RunStore.create(tmp_path / "run", {}, "").close()
    for what in REPORTS:
        with pytest.raises(ConfigError, match=r"run: no trial has begun$"):
            print_report(what, tmp_path / "run")


def test_a_lost_and_a_diverged_seed_are_left_out_and_the_figures_drawn(
    tmp_path: Path, capsys: Captured
) -> None:
    both = {2: noise(50.0) | sample(1.0)}
    with RunStore.create(tmp_path / "run", {}, "") as store:
        for seed, status in enumerate(("completed", "completed", "diverged")):
            record(store, constant_trial(replicate=seed), status=status, epochs=both)  # type: ignore[arg-type]
        write_trial(store, constant_trial(replicate=3), status="failed")
    print_report("noise", tmp_path / "run")
    out = capsys.readouterr().out
    assert "4 seeds, 4 trainings, 1 of them diverged" in out
    assert "C^2 = 50, from 50 at first to 50 at last" in out
    assert "1 measurement, n=2 seeds" in out
    for name in ("noise", "sampling"):
        assert f"figure: {tmp_path / 'run' / 'plots' / name}.png" in out
        assert (tmp_path / "run" / "plots" / f"{name}.png").stat().st_size > 1000


# The whole command, with Ray.


def run_measure(
    cluster: ClusterProcess, folder: Path, *words: str
) -> subprocess.CompletedProcess[str]:
    where = (f"cluster.address={cluster.address}", f"runs_dir={folder}", "display=plain")
    return ready.run("tuner.measure", *words, *where, cwd=ROOT, env=os.environ | ENVIRONMENT)


@pytest.mark.slow
def test_noise_is_measured_told_and_written(tmp_path: Path, cluster: ClusterProcess) -> None:
    words = ("noise", "epochs=2", "confirm.seeds=2", "noise.pairs=4", "name=small")
    words += ("max_concurrent=1",)
    small = ("model.width=4", "dataset.train_examples=300", "--write", str(tmp_path / "mine"))
    done = run_measure(cluster, tmp_path, *words, *small)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "small")
    run = results.load(tmp_path / "small")
    c2_E = np.array(run.epochs["noise_c2"].to_pylist())
    assert c2_E.shape == (2 * 2 * 2,)  # arms, seeds, epochs
    assert (c2_E > 0).all()
    assert all(run.trials["status"].to_numpy(zero_copy_only=False) == "completed")
    for arm, label in (("constant", "constant"), ("baseline", "your default (not tuned)")):
        assert f"{label}: C^2 = {read_noise(run)[arm].c2:.4g} [" in done.stdout
    config = compose(["workload=digits_measured"], str(tmp_path / "mine"))
    assert config.noise.c2 == pytest.approx(read_noise(run)["baseline"].c2, rel=1e-5)


@pytest.mark.slow
def test_functions_are_minimised_and_tabulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    do_without_ray(monkeypatch)
    words = ("functions", "functions=rastrigin", "space=[poly,random_restarts]", "name=tiny")
    small = ("epochs=3", "dataset.path=3", "dataset.train_examples=20", "batch.initial=5")
    assert main([*words, *small, f"runs_dir={tmp_path}", "display=plain"]) == 0
    out = capsys.readouterr().out
    assert "D = 3, 60 gradients" in out
    assert "180 evaluations a start; 95% Wilson intervals" in out
    methods = [line.split("  ")[0] for line in out.splitlines() if "rastrigin  " in line]
    assert len(methods) == 4  # poly with three powers, and the solver
    assert (tmp_path / "tiny-rastrigin" / "plots" / "functions.png").stat().st_size > 1000
    assert out.splitlines()[-1] == str(tmp_path / "tiny-rastrigin")


@pytest.mark.full
def test_equivalence_is_measured_on_several_functions_and_shown_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    do_without_ray(monkeypatch)
    small = ["epochs=2", "dataset.train_examples=256", "confirm.seeds=2", "display=none"]
    words = ["equivalence", "functions=sphere,ellipsoid", f"runs_dir={tmp_path}", "name=eq"]
    assert main([*words, *small]) == 0
    out = capsys.readouterr().out
    table = out[out.rindex("function ") :]
    rows = [line.split() for line in table.splitlines() if line.startswith(("sphere", "ellips"))]
    assert len(rows) == 18
    assert (tmp_path / "eq-ellipsoid" / "plots" / "equivalence_functions.png").exists()
    arms = [
        arm
        for name in ("sphere", "ellipsoid")
        for arm in read_equivalence(results.load(tmp_path / f"eq-{name}"))
    ]
    # delta is lr's share over the root of the batch's; on quadratics every mean path is exact.
    shares = [(lr, batch) for lr in (1 / 16, 1 / 4, 1) for batch in (1 / 16, 1, 16)]
    expected = sorted(lr / math.sqrt(batch) for lr, batch in shares)
    for own in (arms[:9], arms[9:]):
        np.testing.assert_allclose([arm.delta for arm in own], expected, rtol=1e-12)
    covered = [arm.covered for arm in arms if arm.covered is not None]
    assert len(covered) == 18
    assert np.mean(covered) == pytest.approx(0.95, abs=0.04)


def test_what_has_no_closed_form_is_refused_before_anything_starts(
    tmp_path: Path, capsys: Captured
) -> None:
    assert main(["equivalence", "functions=ackley", f"runs_dir={tmp_path}"]) == 2
    assert "ackley has no closed form under it (known: rastrigin" in capsys.readouterr().err
    assert main(["equivalence", "workload=digits", f"runs_dir={tmp_path}"]) == 2
    assert [*tmp_path.iterdir()] == []
