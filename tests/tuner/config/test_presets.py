"""Presets and what joined the command line with them: fixed arms, extra parameters, errors."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from search_spaces.space import Range, SearchSpace
from search_spaces.trial import canonical_json
from tuner.campaign.campaign import Campaign
from tuner.config.compose import compose
from tuner.config.presets import PAPER_PRESETS, PRESETS, Preset
from tuner.config.schema import Config, ConfigError
from tuner.plan.plan import Plan, make_plan
from tuner.run import main

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

CPU_FORMS = [name for name in PRESETS if name.endswith("_cpu")]
# arXiv 2311.08745: lr of epoch t of 200 from 0.1; R10 for the steps.
PAPERS_LR = {
    "poly p=0.5": {1: 0.09974968672, 100: 0.07071067812, 199: 0.007071067812},
    "poly p=0.9": {1: 0.09954988729, 150: 0.02871745887, 199: 0.0008493232323},
    "poly p=1": {1: 0.0995, 50: 0.075, 100: 0.05, 150: 0.025, 199: 0.0005},
    "poly p=2": {100: 0.025, 199: 2.5e-6},
    "cosine": {1: 0.09999383162, 50: 0.08535533906, 199: 6.168375917e-6},
    "cosine_power": {50: 0.06819577189, 150: 0.004455859301, 199: 1.578246571e-6},
    "exp": {20: 0.029010624, 60: 0.0024415814, 100: 2.0548748e-4},
    "step": {1: 0.0707106781187, 2: 0.05, 3: 0.0353553390593, 4: 0.025},
}


@functools.cache
def composed(*words: str) -> Config:
    return compose(list(words))


@functools.cache
def planned(*words: str) -> Plan:
    return make_plan(composed(*words))


def arms(plan: Plan) -> dict[str, SearchSpace]:
    return {space.name: space for space in plan.spaces}


def schedule(plan: Plan, arm: str):
    space = arms(plan)[arm]
    return plan.trial(space, space.fixed).schedule


@pytest.mark.parametrize("preset", CPU_FORMS)
def test_every_preset_for_the_cpu_makes_a_plan_of_fixed_arms(preset: str) -> None:
    plan = planned(f"preset={preset}")
    assert plan.config.preset == preset
    assert all(plan.is_fixed(space) for space in plan.spaces)
    assert plan.num_trials == len(plan.spaces) * plan.config.confirm.seeds
    for space in plan.spaces:
        assert plan.trial(space, space.fixed).schedule.total_samples == plan.samples_per_trial


@pytest.mark.parametrize("preset", PAPER_PRESETS)
def test_every_preset_says_what_it_shows_and_has_its_own_workload(preset: str) -> None:
    config = composed(f"preset={preset}")
    assert config.workload == PAPER_PRESETS[preset].settings["workload"]
    assert config.space == [arm.name for arm in PAPER_PRESETS[preset].arms]
    assert "2311.08745" in PRESETS[preset].shows or "2412.11501" in PRESETS[preset].shows
    assert not config.baseline.is_wanted


def test_the_small_form_changes_size_and_not_method() -> None:
    paper, small = composed("preset=aaai_shb"), composed("preset=aaai_shb_cpu")
    # C^2 and K belong to the workload: tests/tuner/plan/test_constants.py.
    assert (paper.optimizer, paper.noise.law) == (small.optimizer, small.noise.law)
    assert (paper.epochs, small.epochs) == (100, 15)
    assert "not the paper's scale" in PRESETS["aaai_shb_cpu"].shows


def test_an_empty_preset_is_the_workload_itself() -> None:
    assert PRESETS["none"] == Preset(shows="nothing published")
    config = composed()
    assert (config.space, config.lr, config.optimizer.momentum) == (["poly"], 0.1, 0.9)


def trainings(preset: str, *words: str) -> set[object]:
    """What each training of this preset does to the weights, whatever it is called.

    The noise law only labels. NSHB at lr is heavy ball at lr (1 - beta), exactly where beta is
    constant; heavy ball without momentum is plain SGD.
    """
    if preset == "measure_critical":  # tries the batches that fit, which the command finds out
        words = ("spaces.lr_batch.batch0.choices=[8,16]",)
    if PRESETS[preset].settings.get("workload") == "imagenet_resnet34":  # ours are not here
        words = ("dataset.name=synthetic",)
    plan = planned(f"preset={preset}", *words)
    if plan.config.trainer != "network":
        return {
            (plan.trial(space, space.fixed).table_key, space.optimizer) for space in plan.spaces
        }
    made = set()
    labels = {"noise_law", "c2", "k", "workload", "optimizer", "momentum", "nesterov", "batch0"}
    for space in plan.spaces:
        trial = plan.trial(space, space.fixed, role="confirm")
        table, recipe = trial.schedule, trial.recipe
        weight_S = 1 - table.momentum_S if recipe.optimizer == "nshb" else 1
        columns = (table.start_S, table.lr_S * weight_S, table.batch_size_S, table.momentum_S)
        others = {k: v for k, v in recipe.identity().items() if k not in labels}
        update = recipe.nesterov and recipe.momentum > 0, trial.params.get("radius0", 0.0)
        text = [np.round(column, 12).tolist() for column in columns]
        made.add(canonical_json({"table": text, "update": update, "seed": trial.seed, **others}))
    return made


def test_no_preset_is_another_under_a_second_name() -> None:
    by_preset = {name: trainings(name) for name in PRESETS if name != "none"}
    # Measured along the recipe's own training, which a grid of batches holds too.
    expected = {("measure_noise", "measure_sampling")}
    twins = {(a, b) for a, made in by_preset.items() for b in by_preset if made <= by_preset[b]}
    assert {(a, b) for a, b in twins if a != b} == expected


def test_nshb_is_known_as_shb_where_their_lr_makes_them_one() -> None:
    small = trainings("aaai_shb_cpu", "lr=0.02")
    assert trainings("aaai_nshb_cpu", "lr=0.2") == small
    assert trainings("aaai_nshb_cpu", "lr=0.1").isdisjoint(small)


# The papers' schedules.


@pytest.mark.parametrize("arm", PAPERS_LR)
def test_p1_schedules_has_the_papers_lr_over_200_epochs(arm: str) -> None:
    table = schedule(planned("preset=p1_schedules_cpu", "epochs=200"), arm)
    for stage, lr in PAPERS_LR[arm].items():
        assert table.lr_S[stage] == pytest.approx(lr, rel=1e-7)
    assert set(table.batch_size_S) == {32}
    assert table.num_stages == (5 if arm == "step" else 200)


def test_p1_schedules_are_the_eleven_curves_with_the_papers_powers() -> None:
    names = [space.name for space in planned("preset=p1_schedules_cpu").spaces]
    powers = [f"poly p={p:g}" for p in (0.1, 0.5, 0.9, 1, 2, 4, 8)]
    assert names == [*powers, "cosine", "cosine_power", "exp", "step"]


def test_p1_schedules_at_the_papers_scale_is_sgd_from_lr_01_at_batch_128() -> None:
    config = composed("preset=p1_schedules")
    assert (config.lr, config.batch.initial, config.epochs) == (0.1, 128, 200)
    assert (config.optimizer.momentum, config.optimizer.weight_decay) == (0.0, 0.0)
    assert (config.model.name, config.dataset.name) == ("resnet18", "cifar100")


def test_p1_methods_share_one_path_of_delta_and_the_constant_has_its_start() -> None:
    plan = planned("preset=p1_methods_cpu", "epochs=200")
    lr, batch, hybrid = (schedule(plan, name) for name in ("lr", "batch", "hybrid"))
    np.testing.assert_array_equal(lr.delta_S, batch.delta_S)
    np.testing.assert_array_equal(lr.delta_S, hybrid.delta_S)
    np.testing.assert_allclose(lr.decay_rate_S[1:], 0.5**0.5, rtol=1e-12)
    assert set(schedule(plan, "constant").delta_S) == {lr.delta_S[0]}
    # R11 from 16: doubled, times 1.5, or not at all, every 40 epochs.
    assert batch.batch_size_S.tolist() == [16, 32, 64, 128, 256]
    assert hybrid.batch_size_S.tolist() == [16, 24, 36, 54, 81]
    assert lr.batch_size_S.tolist() == [16] * 5
    for table in (lr, batch, hybrid):
        np.testing.assert_array_equal(table.start_S, np.arange(5) * 40 * table.epoch_samples)


def test_algorithm_6_arms_share_one_path_of_delta_down_to_the_floor_of_momentum() -> None:
    plan = planned("preset=aaai_algorithm6_cpu")
    assert plan.recipe.noise_law == "shb"
    reference = schedule(plan, "lr_only")
    for name in ("lr_batch", "beta", "lr_beta", "batch_beta"):
        table = schedule(plan, name)
        free = ~table.floored_S
        np.testing.assert_array_equal(table.delta_S[free], reference.delta_S[free])
        assert free[:15].all()
    beta = schedule(plan, "beta")
    assert set(beta.lr_S) == {0.02}
    assert set(beta.batch_size_S) == {32}
    assert beta.momentum_S[0] == 0.9
    assert set(schedule(plan, "batch_beta").lr_S) == {0.02}
    assert set(schedule(plan, "lr_beta").batch_size_S) == {32}
    assert set(schedule(plan, "lr_batch").momentum_S) == {0.9}


def test_p1_sharpness_is_the_papers_grid_of_156_trainings() -> None:
    """arXiv 2311.08745, sharpness: 4 lrs, 13 batch sizes, 3 runs."""
    (arm,) = PAPER_PRESETS["p1_sharpness"].arms
    assert len(arm.points()) * composed("preset=p1_sharpness").confirm.seeds == 156
    assert arm.ranges["batch0"].choices == tuple(2**k for k in range(1, 14))


def test_p1_critical_measures_every_rate_of_table_2_by_the_authors_rule() -> None:
    """Four learning rates; `epoch > 10` of epochs from 0 lets 11 pass."""
    config = composed("preset=p1_critical")
    (arm,) = PAPER_PRESETS["p1_critical"].arms
    assert arm.ranges["lr0"].choices == (0.01, 0.05, 0.1, 0.5)
    assert {0.5, 1.0} <= set(config.critical.epsilon)  # Table 2's
    assert config.critical.min_epochs == composed().critical.min_epochs == 11
    assert composed("preset=p1_critical_cpu").critical.min_epochs == 2


def test_arms_of_lr_and_batch_train_with_exactly_these() -> None:
    plan = planned("preset=p1_sharpness_cpu")
    pairs = []
    for space in plan.spaces:
        trial = plan.trial(space, space.fixed)
        assert set(trial.schedule.lr_S) == {space.fixed["lr0"]} == {trial.lr0}
        assert set(trial.schedule.batch_size_S) == {space.fixed["batch0"]} == {trial.batch0}
        # sgd without momentum, C = 1: lr / sqrt(b)
        assert trial.params["delta0"] == pytest.approx(trial.lr0 / trial.batch0**0.5, rel=1e-12)
        pairs.append((trial.batch0, trial.lr0))
    assert pairs == [(b, lr) for b in (16, 32, 128, 256) for lr in (0.01, 0.05, 0.1, 0.5)]
    assert plan.spaces[0].name == "lr_batch batch0=16,lr0=0.01"


# Fixed arms: confirmed, not searched.


def test_fixed_arms_are_confirmed_on_paired_seeds_without_a_search() -> None:
    plan = planned("preset=p1_methods_cpu", "confirm.seeds=2")
    campaign, seen = Campaign(plan), []
    while (trial := campaign.next()) is not None:
        seen.append((trial.space, trial.role, trial.replicate, trial.seed))
        campaign.tell(trial, "completed", 0.5)
    assert campaign.finished
    names = ("constant", "lr", "batch", "hybrid")
    assert sorted(s[:3] for s in seen) == sorted((n, "confirm", r) for n in names for r in (0, 1))
    assert len({seed for *_, seed in seen}) == 2


def test_fixed_arms_wait_for_no_search_of_the_others() -> None:
    words = ("preset=p1_methods_cpu", "space=[lr,poly]", "search.sampler=tpe", "trials=3")
    campaign = Campaign(planned(*words, "confirm.seeds=2"))
    roles = []
    while (trial := campaign.next()) is not None:
        roles.append((trial.space, trial.role))
        campaign.tell(trial, "completed", 0.5)
    assert sorted(roles) == sorted(
        [("lr", "confirm")] * 2 + [("poly", "search")] * 3 + [("poly", "confirm")] * 2
    )


def test_without_confirm_seeds_a_fixed_arm_is_searched_once() -> None:
    campaign, seen = Campaign(planned("preset=p1_methods_cpu", "confirm.seeds=0")), []
    while (trial := campaign.next()) is not None:
        seen.append((trial.space, trial.role))
        campaign.tell(trial, "completed", 0.5)
    assert seen == [(name, "search") for name in ("constant", "lr", "batch", "hybrid")]


FINE = ("spaces.poly.interval.value=1", "spaces.poly.delta0.value=0.3", "confirm.each=true")


def test_points_that_agree_in_four_digits_have_names_of_their_own() -> None:
    plan = planned("spaces.poly.p.choices=[0.123456,0.123457,2]", *FINE, "baseline=false")
    assert [s.name for s in plan.spaces] == ["poly p=0.123456", "poly p=0.123457", "poly p=2.0"]
    assert len(Campaign(plan).arms) == 3


def test_a_choice_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^spaces.poly.p: `choices` must differ"):
        planned("spaces.poly.p.choices=[1,2,1]")


# The command line wins, and users' own spaces.


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (("preset=p1_methods", "epochs=60"), "epochs", 60),
        (("epochs=60", "preset=p1_methods"), "epochs", 60),
        (("preset=p1_methods", "workload=cifar10_resnet20"), "workload", "cifar10_resnet20"),
        (("preset=p1_noise_cpu", "measure=critical"), "measure", ["critical"]),
        (("preset=p1_methods_cpu", "space=[batch,lr]"), "space", ["batch", "lr"]),
        (("preset=[p1_methods_cpu]",), "space", ["constant", "lr", "batch", "hybrid"]),
        (("critical.epsilon=0.25",), "critical", {"epsilon": [0.25], "min_epochs": 11}),
    ],
)
def test_what_the_user_says_wins(words: tuple[str, ...], key: str, value: object) -> None:
    setting = getattr(composed(*words), key)
    assert (vars(setting) if hasattr(setting, "__dict__") else setting) == value


def test_a_preset_on_another_workload_keeps_its_own_settings() -> None:
    config = composed("preset=p1_methods", "workload=digits", "confirm.seeds=7")
    assert (config.model.name, config.batch.initial, config.epochs) == ("resnet8", 32, 200)
    assert (config.optimizer.momentum, config.confirm.seeds) == (0.0, 7)


def test_what_is_measured_reaches_the_recipe_with_its_options() -> None:
    words = ("measure=[noise,critical,sharpness]", "noise.pairs=3", "critical.min_epochs=2",
             "space=constant", "baseline=false")  # fmt: skip
    assert planned(*words, "sharpness.rho=0.5").recipe.measurements == {
        "noise": {
            **{"estimator": "two_batch", "batch_norm": "train", "batch": None},
            **{"pairs": 3, "every": 1},
        },
        "critical": {"epsilon": [0.5], "min_epochs": 2},
        "sharpness": {
            **{"rho": 0.5, "adaptive": True, "examples": 1024},
            **{"batch": 128, "iterations": 20},
        },
    }


@pytest.mark.parametrize(
    ("words", "noise", "sampling"),
    [
        ((), "train", "train"),
        (("noise.estimator=per_example",), "eval", "train"),  # examples make no batch
        (("noise.batch_norm=eval",), "eval", "eval"),
        (("noise.batch_norm=eval", "noise.estimator=per_example"), "eval", "eval"),
    ],
)
def test_gradients_are_measured_as_the_steps_have_them_where_that_can_be(
    words: tuple[str, ...], noise: str, sampling: str
) -> None:
    measured = planned("measure=[noise,sampling]", *words).recipe.measurements
    assert [measured[name]["batch_norm"] for name in ("noise", "sampling")] == [noise, sampling]


def test_any_space_may_be_given_momentum_share_or_lr0() -> None:
    words = ("spaces.poly.momentum_share.choices=[0,0.5]", "spaces.poly.lr0.value=0.2")
    space = planned(*words).spaces[0]
    assert set(space.ranges) == {"interval", "split", "p", "momentum_share", "lr0"}
    params = {"interval": 1, "split": 1.0, "p": 1.0, "momentum_share": 0.5, "lr0": 0.2}
    trial = planned(*words).trial(space, params)
    assert trial.lr0 == trial.schedule.lr_S[0] == 0.2
    assert trial.schedule.lr_S[3] == pytest.approx(0.2 * (1 - 3 / 15) ** 0.5)
    assert "momentum_share" not in trial.curve_params


def write(folder: Path, text: str) -> str:
    (folder / "mine.yaml").write_text(text)
    return f"space={folder / 'mine.yaml'}"


def test_a_users_file_may_say_momentum_share_lr0_batch0_and_optimizer(tmp_path: Path) -> None:
    text = "family: poly\noptimizer: nshb\np: 1\ninterval: 1\nsplit: 1\nmomentum_share: 1\n"
    word = write(tmp_path, text + "lr0: {choices: [0.05, 0.1]}\nbatch0: {choices: [8, 16]}\n")
    plan = planned(word, "optimizer.nesterov=false", "noise.law=nshb_b")
    (space,) = plan.spaces
    assert space.optimizer == "nshb"
    assert space.grid() == [{"batch0": b, "lr0": lr} for b in (8, 16) for lr in (0.05, 0.1)]
    trial = plan.trial(space, space.fixed | {"batch0": 8, "lr0": 0.05})
    assert (trial.recipe.optimizer, plan.recipe.optimizer) == ("nshb", "sgd")
    table = trial.schedule
    assert set(table.lr_S) == {0.05}
    assert set(table.batch_size_S) == {8}
    # Law nshb_b, d = 1 - 1/15: (1 - beta) grows by 1/d^2 from 0.1.
    assert table.momentum_S[1] == pytest.approx(1 - 0.1 / (1 - 1 / 15) ** 2, abs=1e-12)
    assert SearchSpace.from_dict(space.to_dict()) == space


def test_bounds_in_a_users_file_replace_one_value_and_a_step_the_log_scale(
    tmp_path: Path,
) -> None:
    text = "family: poly\nsplit: {low: 0.0, high: 1.0}\np: {step: 0.1}\n"
    (space,) = planned(write(tmp_path, text)).spaces
    assert space.ranges["split"] == Range(low=0.0, high=1.0)
    assert space.ranges["p"] == Range(low=0.1, high=4.0, step=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer: foo", "spaces.mine.optimizer: unknown optimizer 'foo'"),
        ("optimizer: shb", "spaces.mine.optimizer: optimizer.nesterov: shb has none"),
        ("optimizer: adamw", "spaces.mine.optimizer: optimizer.momentum: adamw has none"),
        ("optimizer: os:system", "optimizer: name a built-in one"),
        ("lr0: 0.1\ndelta0: 0.3", "lr0 takes the place of delta0; give one of them"),
        ("batch0: 5000", "spaces.mine: `1 <= batch.initial <="),
        ("batch0: {low: 8, high: 16.5}", "whole numbers only"),
        ("p: {value: 1, low: 0.5}", "p: value excludes the others"),
        ("p: {low: null}", "p: give a value, choices, or low and high"),
        ("momentum_share: 2", "momentum_share <= 1` must hold"),
        ("radius0: -1", "`radius0 >= 0` must hold"),
        ("lr0: 0", "`lr0 > 0` must hold"),
    ],
)
def test_a_users_file_that_cannot_be_trained_is_refused(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(write(tmp_path, f"family: poly\n{text}\n"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_python_space_without_a_common_parameter_is_refused() -> None:
    config = compose([])
    ranges = {"p": Range(value=1.0), "interval": Range(value=1, integer=True)}
    config.user_spaces["poly"] = SearchSpace(name="poly", family="poly", ranges=ranges)
    config.spaces["poly"] = {name: config.spaces["poly"][name] for name in ranges}
    with pytest.raises(ConfigError, match=r"^spaces.poly: needs interval, split, and delta0"):
        make_plan(config)


def test_a_dry_run_tells_momentum_and_no_search_of_fixed_arms(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("preset=aaai_algorithm6_cpu", "space=[lr_only,beta]", "dataset.train_examples=100")
    assert main([*words, "epochs=2", "dry_run=true", f"runs_dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert "search " not in out
    lr_only, beta = out.split("lr_only: ")[1].split("beta: ")
    assert ("momentum" in lr_only, "decay rate 1  momentum 0.9\n" in beta) == (False, True)


def test_a_dry_run_times_a_function(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("workload=rastrigin", "dataset.path=2", "epochs=2", f"runs_dir={tmp_path}")
    assert main([*words, "dry_run=true"]) == 0
    assert "estimated time:" in capsys.readouterr().out


BAD = [
    ("measure=nonsense", "measure=nonsense: unknown; did you mean 'noise'?"),
    ("measure=[noise,noise]", "each may be named once"),
    ("measure=noise,critical", "'measure=[noise,critical]'"),
    ("measure=noise workload=rastrigin", "only networks can be measured"),
    ("confirm.each=true", "confirm.each: spaces.poly.delta0: a grid needs"),
    ("preset=p1_schedules_cpu confirm.seeds=0", "needs confirm.seeds of at least 1"),
    ("space=momentum optimizer.momentum=0 optimizer.nesterov=false", "only from above 0"),
    ("space=momentum spaces.momentum.momentum_share.value=2", "momentum_share <= 1` must hold"),
    ("space=explicit spaces.explicit.radius0.value=-1", "radius0=-1.0: `radius0 >= 0` must hold"),
    ("space=lr_batch spaces.lr_batch.batch0.high=5000", "spaces.lr_batch.batch0=5000"),
    ("space=lr_batch spaces.lr_batch.batch0.value=1.5", "whole numbers only"),
    ("spaces.poly.lr0.value=0.1 spaces.poly.delta0.value=0.3", "give one of them"),
    ("optimizer=shb", "add optimizer.nesterov=false"),
    ("noise.estimator=per_example noise.batch_norm=train", "needs noise.batch_norm=eval"),
    ("noise.pairs=1", "noise.pairs=1: allowed is 2 to"),
    ("sharpness.rho=0", "sharpness.rho=0.0: allowed is > 0"),
    ("critical.epsilon=[]", "critical.epsilon=[]: allowed is list of numbers > 0"),
    ("critical.epsilon=[0.5,0]", "allowed is list of numbers > 0"),
    ("smoothing=box", "smoothing=box: allowed is ball"),
    ("workload=rastrigin dataset.path=1", "`dimension in 2..10000` must hold"),
    ("workload=rastrigin optimizer=sgd", "unknown optimizer 'sgd'"),
    ("preset=p1_nois", "unknown preset 'p1_nois'; did you mean 'p1_noise'?"),
    ("preset=p1_sharpness_cpu batch.max=64", "spaces.lr_batch batch0=128,lr0=0.01: `1 <="),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[words for words, _ in BAD])
def test_bad_input_is_one_clear_line(words: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan(compose(words.split()))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
