"""The command line: what is refused, how it is said, and that nothing heavy is loaded for it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from search_spaces import SPACES
from tests.conftest import ROOT
from tuner.config.compose import compose
from tuner.config.help import markdown
from tuner.config.schema import KEYS, MISSING, SHORTHANDS, ConfigError, value_of
from tuner.config.userfiles import MAX_BYTES
from tuner.config.workloads import WORKLOADS
from tuner.plan.plan import make_plan
from tuner.plan.usercode import check_import
from tuner.run import main, make_request

# The contract: these keys are frozen.
FROZEN_KEYS = """
space split workload preset dataset.name dataset.path dataset.train_examples dataset.val_fraction
model.name model.width optimizer.name optimizer.momentum optimizer.nesterov
optimizer.weight_decay optimizer.clip_norm lr batch.initial batch.max noise.c2 noise.k noise.law
epochs warmup_epochs label_smoothing precision trials seed search.sampler search.fidelity
search.budget search.startup confirm.top_k confirm.seeds baseline min_effect max_concurrent
resources.cpus_per_trial resources.gpus_per_trial cluster.address runs_dir name resume display
dry_run
""".split()

# A training of the user's own, complete.
USER_TRAINING = (
    "trainable=tests.fakes.users_code:train dataset.train_examples=100 lr=1 batch.initial=8"
    " epochs=3"
)

BAD = [
    ("trails=3", "unknown key 'trails'; did you mean 'trials'?"),
    ("space=poli", "unknown space 'poli'; did you mean 'poly'?"),
    ("workload=digit", "unknown workload 'digit'; did you mean 'digits'?"),
    ("spaces.poly.q.low=1", "unknown parameter 'q'"),
    ("spaces.poly.p.hihg=1", "did you mean 'high'?"),
    ("spaces.cosine.interval.low=2", "space 'cosine' is not searched"),
    ("spaces.poly.p=2", "spaces.<space>.<param>."),
    ("spaces.poly.p.low=5", "spaces.poly.p: `low < high` must hold"),
    ("spaces.poly.p.low=4", "spaces.poly.p: `low < high` must hold"),
    ("spaces.poly.p.low=0", "spaces.poly.p: `low > 0` must hold for log=true"),
    ("spaces.poly.p.value=-1", "spaces.poly.p=-1.0: `p > 0` must hold"),
    ("spaces.poly.p.high=nan", "spaces.poly.p: bounds must be finite"),
    ("spaces.poly.p.choices=[]", "spaces.poly.p: `choices` must hold at least one"),
    ("spaces.poly.interval.high=16", "interval <= epochs"),
    ("spaces.poly.interval.value=0.01", "interval=step reads the curve at every step"),
    ("spaces.poly.interval.low=0", "step is a value or one of choices"),
    ("spaces.poly.interval.low=step", "allowed is a number"),
    (
        "spaces.poly.interval.value=stp",
        "value=stp: allowed is step | a number above 0; did you mean 'step'?",
    ),
    (
        "spaces.poly.interval.choices=[1,step,stop]",
        "choices=[1,step,stop]: allowed is list of step | a number above 0; did you mean 'step'?",
    ),
    ("spaces.poly.p.value=step", "spaces.poly.p.value=step: allowed is a number"),
    ("recipe.interval=stp", "allowed is step | above 0, to epochs; did you mean 'step'?"),
    ("spaces.poly.warmup.value=1", "`0 <= warmup < 1` must hold"),
    ("spaces.poly.split.value=2", "split <= 1"),
    ("trials=0", "trials=0: allowed is 1 to"),
    ("trials=abc", "trials=abc: allowed is a whole number, 1 to 1,000,000"),
    ("epochs=0", "epochs=0: allowed is 1 to"),
    ("epochs=", "epochs=: allowed is a whole number, 1 to 100,000"),
    ("batch.initial=0", "batch.initial=0"),
    ("batch.initial=5000", "larger than the 1,150 images"),
    ("batch.max=8", "batch.max=8: must be at least batch.initial=32"),
    ("lr=nan", "lr=nan: allowed is above 0"),
    ("lr=inf", "lr=inf: allowed is above 0"),
    ("lr=-1", "lr=-1.0: allowed is above 0"),
    ("noise.c2=0", "noise.c2=0.0: allowed is above 0"),
    ("noise.law=foo", "noise.law=foo: allowed is sgd"),
    ("seed=-1", "seed=-1: allowed is 0 to"),
    ("warmup_epochs=15", "warmup_epochs=15.0: must be below epochs=15"),
    ("dataset.val_fraction=1", "dataset.val_fraction=1.0"),
    ("dataset.train_examples=5000", "has only 1,437 training images"),
    ("workload=digits dataset=cifar10 dataset.path=/nowhere", "/nowhere"),
    ("dataset=foo", "unknown dataset 'foo'"),
    (
        "model=tests.fakes.users_code:linear_model dataset=cifar10 lr=0.1",
        "batch.initial, epochs: no value; workload=custom leaves them to you: batch.initial=... "
        "epochs=..., or workload=<name>, whose recipe then holds",
    ),
    ("workload=custom", "dataset, model, lr, batch.initial, epochs: no value"),
    ("model=resnet19", "unknown model 'resnet19'; did you mean 'resnet18'?"),
    ("optimizer=sdg", "unknown optimizer 'sdg'; did you mean 'sgd'?"),
    ("optimizer=adamw", "adamw has none"),
    ("optimizer.momentum=1", "optimizer.momentum=1.0: allowed is 0 to below 1"),
    ("optimizer.momentum=0", "optimizer.nesterov=true: needs optimizer.momentum above 0"),
    ("search.sampler=tpee", "search.sampler=tpee: allowed is tpe"),
    ("search.sampler=grid", "search.sampler=grid: spaces.poly"),
    ("confirm.top_k=17", "confirm.top_k=17 must be at most trials=16"),
    ("display=fancy", "display=fancy: allowed is auto"),
    ("precision=fp16", "precision=fp16: allowed is auto"),
    ("max_concurrent=0", "max_concurrent=0"),
    ("resources.cpus_per_trial=0", "resources.cpus_per_trial=0.0"),
    ("resources.gpus_per_trial=2", "resources.gpus_per_trial=2: a network trains on one GPU"),
    ("resources.gpus_per_trial=1.5", "resources.gpus_per_trial=1.5: allowed is 0 to 1"),
    ("resources.gpus_per_trial=1e309", "resources.gpus_per_trial=inf: allowed is 0 to 1"),
    ("resources.gpus_per_trial=-1", "resources.gpus_per_trial=-1.0: allowed is 0 to 1"),
    ("name=a/b", "'a/b'"),
    ("name=..", "'..'"),
    ("name=-x", "'-x'"),
    ("space=poly,cosine", "'space=[poly,cosine]'"),
    ("space=[poly,poly]", "each may be named once"),
    ("space=[]", "at least one"),
    ("space=[poly,[cosine]]", "cannot read"),
    ("epochs=999999999999", "allowed is 1 to 100,000"),
    ("runs_dir=", "runs_dir=: may not be empty"),
    ("resume=", "resume=: may not be empty"),
    ("model=nosuch.module:fn", "cannot import 'nosuch.module:fn'"),
    ("model=os:", "cannot import 'os:'"),
    ("recipe.family=os.path:join", "recipe: "),
    ("recipe.family=os.path:nosuch", "recipe.family: cannot import 'os.path:nosuch'"),
    ("recipe.family=wsd recipe.f=0.2", "recipe.family=wsd: give recipe.p=..."),
    ("recipe.family=wsd recipe.p=1 recipe.f=2", "recipe: `0 < f <= 1` must hold"),
    ("recipe.family=poly recipe.q=2", "unknown key 'recipe.q'; did you mean 'recipe.p'?"),
    ("recipe.famly=poly", "unknown key 'recipe.famly'; did you mean 'recipe.family'?"),
    ("recipe.family=poly recipe.p=x", "recipe.p=x: allowed is a number"),
    ("recipe.family=poly recipe.p=null", "recipe.p=null: allowed is a number"),
    ("recipe.family=poly recipe.p=1e309", "recipe.p=inf: bounds must be finite"),
    ("recipe.end=1", "recipe.end=1.0: allowed is 0 to below 1"),
    ("recipe.family=constant recipe.end=0.1", "recipe: a constant curve falls to no end"),
    ("baseline.name=a:b", "baseline.name=a:b: allowed is up to 40 letters"),
    ("baseline=tuned search.sampler=grid space=constant", "baseline=tuned: needs another"),
    ("space=constant spaces.constant.end.value=0.1", "a constant curve falls to no end"),
    ("space=cosine spaces.cosine.end.value=1", "`0 <= end < 1` must hold"),
    ("space=wsd spaces.wsd.f.value=0.05 spaces.wsd.interval.value=2", "f=0.05, interval=2 of"),
    ("space=wsd spaces.wsd.f.low=0.01 spaces.wsd.f.high=0.02", "the curve falls only after it is"),
    ("recipe.family=wsd recipe.p=1 recipe.f=0.05", "recipe: with f=0.05, interval=1 of 15 epochs"),
    ("workload=digits dataset=os:getcwd", "os:getcwd"),
    ("workload=[digits,synthetic]", "name one"),
    ("+foo=1", "cannot be added"),
    ("~trials", "cannot be added or removed"),
    ("hydra.run.dir=x", "unknown key 'hydra.run.dir'"),
    ("hydra/launcher=x", "unknown key 'hydra/launcher'"),
    ("epochs", "write key=value"),
    ("--trials=3", "unknown option"),
    ("--config-dir=/nowhere", "is not a folder"),
    ("space=./nowhere.yaml", "nowhere.yaml: No such file"),
    ("resume=nowhere", "no run there"),
    (f"resume={'x' * 5000}", f"...{'x' * 60}"),
    (f"space={'x' * 300}.yaml", "xxx.yaml: File name too long"),
    (f"{'key' * 300}=1", "unknown key 'keykey"),
    ("cluster.address=ray://x:1", "Ray Client"),
    ("cluster.address=nohost", "write auto or host:port"),
    ("cluster.address=127.0.0.1:1", "does not answer"),
    ("runs_dir=/proc/nowhere", "not writable"),
    ("noise.law=shb noise.k=1 space=batch", "cannot lower delta by the batch alone"),
    ("space=lr split=0.5", "the split of space lr is fixed"),
    ("recipe.interval=16", "recipe.interval=16: must be at most epochs=15"),
    ("workload=user lr=1 batch.initial=8 epochs=3", "trainable: give your own training"),
    ("trainable=tests.fakes.users_code:train", "lr, batch.initial, epochs: no value; "),
    ("trainable=tests.fakes.users_code:train workload=digits", "workload=digits trains by itself"),
    (f"{USER_TRAINING} dataset.train_examples=null", "dataset.train_examples: give the samples"),
    (f"{USER_TRAINING} trainable=train", "trainable=train: write package.module:function"),
    (f"{USER_TRAINING} trainable=nosuch.module:train", "cannot import 'nosuch.module:train'"),
    (f"{USER_TRAINING} trainable=__main__:train", "lives in a script or notebook"),
    (
        f"{USER_TRAINING} trainable=./nowhere.py:train",
        "cannot import './nowhere.py:train': no such file",
    ),
    (f"{USER_TRAINING} batch.initial=101", "batch.initial=101: larger than the 100"),
    (f"{USER_TRAINING} optimizer=muon", "unknown optimizer 'muon' (known: adamw"),
    (
        f"{USER_TRAINING} optimizer=tests.fakes.users_code:plain_sgd",
        "unknown optimizer 'tests.fakes.users_code",
    ),
    (f"{USER_TRAINING} optimizer=adamw optimizer.momentum=0.9", "adamw has none"),
    (f"{USER_TRAINING} model=resnet8", "unknown model 'resnet8' (known: none)"),
    (f"{USER_TRAINING} dataset=digits", "unknown dataset 'digits' (known: none)"),
    (f"{USER_TRAINING} space=explicit", "which only trainer=network can do"),
    (f"{USER_TRAINING} space=momentum", "momentum can lower delta only from above 0"),
    (f"{USER_TRAINING} measure=noise", "measure=noise: only networks can be measured"),
    *[
        (
            f"{USER_TRAINING} {key}={value}",
            f"{key}: your own training decides it, not trainer=user",
        )
        for key, value in (
            *(("model.width", 4), ("label_smoothing", 0.1), ("micro_batch", 8)),
            *(("optimizer.clip_norm", 1), ("optimizer.weight_decay", 0.1), ("precision", "bf16")),
            *(("dataset.path", "."), ("dataset.val_fraction", 0.2), ("smoothing", "gaussian")),
        )
    ],
    (
        f"{USER_TRAINING} optimizer.momentum=0.9 optimizer.nesterov=true",
        "optimizer.nesterov: your own training decides it",
    ),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[words[:100] for words, _ in BAD])
def test_bad_input_gets_one_clear_line_and_exit_code_2(
    words: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = words.split()
    where = [] if "runs_dir" in words else [f"runs_dir={tmp_path / 'runs'}"]
    assert main([*given, *where]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_a_number_larger_than_any_float_is_a_mistake_like_others() -> None:
    with pytest.raises(ConfigError, match="has only 1,437 training images"):
        make_plan(compose([f"dataset.train_examples={10**309}"]))


@pytest.mark.slow
def test_mistakes_are_found_without_importing_torch_or_ray() -> None:
    code = (
        "import sys; from tuner.run import main; "
        "codes = [main(['spaces.poly.p.low=9']), main(['model=resnet19']), main(['--help'])]; "
        "heavy = {'torch', 'ray', 'scipy', 'sklearn', 'torchvision'} & set(sys.modules); "
        "sys.exit(f'{codes} {heavy}' if codes != [2, 2, 0] or heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("space", SPACES)
def test_every_space_can_be_searched(space: str) -> None:
    plan = make_plan(compose([f"space={space}"]))
    assert plan.spaces[0].ranges.keys() == SPACES[space].ranges.keys()


@pytest.mark.parametrize(
    "workload", [w for w in WORKLOADS if w not in ("imagenet_resnet34", "user", "custom")]
)
def test_every_workload_makes_a_plan(workload: str) -> None:
    plan = make_plan(compose([f"workload={workload}"]))
    assert plan.recipe.workload == workload
    assert plan.baseline is not None


def test_a_dataset_or_model_of_ones_choice_takes_over_no_recipe() -> None:
    words = ("dataset=digits", "model=resnet8", "lr=0.1", "batch.initial=32", "epochs=3")
    config = compose(words)
    assert config.workload == "custom"
    for key in ("model.width", "optimizer.momentum", "optimizer.weight_decay", "trials"):
        assert value_of(config, key) == KEYS[key].default
        assert value_of(compose(["workload=digits", *words]), key) != KEYS[key].default
    assert compose(["workload=digits", "model=resnet20"]).optimizer.momentum == 0.9
    assert compose(["preset=p1_methods_cpu", "model=resnet20"]).workload == "digits"


def test_a_workload_sets_defaults_and_the_command_line_wins() -> None:
    assert compose(["workload=cifar10_resnet20"]).epochs == 200
    assert compose(["workload=cifar10_resnet20", "epochs=5"]).epochs == 5
    assert compose(["epochs=5", "workload=cifar10_resnet20"]).epochs == 5
    assert compose([]).confirm.seeds == 3


def test_ranges_can_be_overridden_fixed_and_chosen() -> None:
    words = ("spaces.poly.p.high=2", "spaces.poly.interval.value=3", "spaces.poly.delta0.low=0.05")
    ranges = make_plan(compose(list(words))).spaces[0].ranges
    assert (ranges["p"].low, ranges["p"].high, ranges["p"].log) == (0.1, 2.0, True)
    assert ranges["interval"].fixed_value == 3
    assert ranges["delta0"].low == 0.05
    ranges = make_plan(compose(["spaces.poly.p.choices=[0.5,1]"])).spaces[0].ranges
    assert ranges["p"].choices == (0.5, 1.0)
    ranges = make_plan(compose(["spaces.poly.p.low=1", "spaces.poly.p.step=0.5"])).spaces[0].ranges
    assert ranges["p"].grid() == (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)


def test_delta0_is_searched_a_decade_around_the_recipes() -> None:
    plan = make_plan(compose(["noise.c2=4"]))
    # sgd law: lr/(1-momentum) * C / sqrt(batch) = 0.1/0.1 * 2 / sqrt(32)
    assert plan.delta_ref == pytest.approx(2 / 32**0.5)
    axis = plan.spaces[0].ranges["delta0"]
    assert (axis.low, axis.high) == pytest.approx((0.1 * plan.delta_ref, 10 * plan.delta_ref))


def test_the_noise_constant_only_labels_delta() -> None:
    trials = []
    for c2 in (1.0, 9.0):
        plan = make_plan(compose([f"noise.c2={c2}"]))
        assert plan.baseline is not None
        trials.append(plan.trial(plan.baseline, plan.baseline.fixed))
    assert trials[0].lr0 == pytest.approx(trials[1].lr0)
    assert trials[0].trial_key == trials[1].trial_key
    assert trials[1].schedule.delta_S[0] == pytest.approx(3 * trials[0].schedule.delta_S[0])


def test_split_turns_any_space_into_batch_growth() -> None:
    plan = make_plan(compose(["space=poly", "split=0"]))
    assert plan.spaces[0].fixed["split"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["objective=val_los"], "trainer=network reports val_accuracy and val_loss; did you mean"),
        (["objective=val_loss", "objective.goal=max"], "the min is best, not the max"),
        (["objective=val_loss", "objective.goal=up"], "allowed is min | max"),
        (["workload=rastrigin", "objective=val_loss"], "trainer=function reports val_accuracy"),
        (["min_effect=1"], "min_effect=1: allowed is below 1 of an accuracy"),
        (["min_effect=-1"], "min_effect=-1.0: allowed is >= 0"),
    ],
)
def test_an_objective_that_cannot_be_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_plan(compose(words))


def test_a_loss_has_no_least_difference_unless_it_is_given() -> None:
    plans = [
        make_plan(compose(["objective=val_loss", *more]))
        for more in ((), ("min_effect=2.5",), ("objective.goal=min",))
    ]
    assert [plan.min_effect for plan in plans] == [None, 2.5, None]
    assert {(p.recipe.objective, p.recipe.goal) for p in plans} == {("val_loss", "min")}


def test_the_frozen_keys_exist_and_every_key_is_documented() -> None:
    assert set(FROZEN_KEYS) <= {*KEYS, *SHORTHANDS}
    assert all(key.meaning and key.allowed.text for key in KEYS.values())


@pytest.mark.parametrize("key", KEYS)
def test_every_keys_default_is_allowed(key: str) -> None:
    default, check = KEYS[key].default, KEYS[key].allowed.check
    assert default in (None, MISSING) or check is None or check(default)


def test_docs_hold_the_key_table() -> None:
    assert (ROOT / "docs" / "keys.md").read_text() == markdown()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_users_yaml_space_joins_the_built_in_ones(tmp_path: Path) -> None:
    write(tmp_path / "space" / "gentle.yaml", "family: poly\np: {low: 0.2, high: 1}\nsplit: 0.5\n")
    config = compose(["space=[gentle,poly]"], str(tmp_path))
    gentle = make_plan(config).spaces[0]
    assert gentle.name == "gentle"
    assert (gentle.ranges["p"].low, gentle.ranges["p"].high) == (0.2, 1.0)
    assert gentle.fixed == {"split": 0.5}
    assert not gentle.ranges["delta0"].relative


def test_a_users_space_may_be_given_by_path_and_overridden(tmp_path: Path) -> None:
    path = write(tmp_path / "drops.yaml", "family: exp\nfactor: {low: 0.2, high: 0.7}\n")
    config = compose([f"space={path}", "spaces.drops.factor.value=0.5"])
    assert make_plan(config).spaces[0].fixed["factor"] == 0.5


def test_a_users_python_space_brings_its_own_curve() -> None:
    plan = make_plan(compose([f"space={ROOT / 'tests' / 'fakes' / 'knee.py'}"]))
    knee = plan.spaces[0]
    params = {name: axis.from_unit(0.5) for name, axis in knee.ranges.items()} | {"interval": 3}
    trial = plan.trial(knee, params)
    # knee = 0.5 of 15 epochs; stages start at 0, 3, 6, 9, 12.
    expected = [1, 1, 1, (1 - 9 / 15) / 0.5, (1 - 12 / 15) / 0.5]
    assert list(trial.schedule.delta_S / trial.schedule.delta_S[0]) == pytest.approx(expected)
    assert trial.curve_digest != ""


def test_a_users_workload_yaml_sets_any_key(tmp_path: Path) -> None:
    write(
        tmp_path / "workload" / "mine.yaml",
        "dataset: {name: digits}\nmodel: {name: resnet8}\n"
        "lr: 1e-2\nbatch: {initial: 8}\nepochs: 4\n",
    )
    config = compose(["workload=mine"], str(tmp_path))
    assert (config.lr, config.batch.initial, config.epochs) == (0.01, 8, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_target_: os.system\nfamily: poly\n", "unknown parameter '_target_'"),
        ("family: poly\nhydra: {run: {dir: x}}\n", "unknown parameter 'hydra'"),
        ("family: poly\ndefaults:\n  - hydra/launcher: x\n", "unknown parameter 'defaults'"),
        ("family: poly\nos.system(): x\n", "unknown parameter 'os.system()'"),
        ("family: ${oc.env:HOME}\n", "an interpolation is not allowed"),
        ("family: !!python/object/apply:os.system [ls]\n", "a YAML tag is not allowed"),
        ("family: poly\nfamily: exp\n", "duplicate"),
        ("family: [unclosed\n", "not readable as YAML"),
        ("- a\n- b\n", "a mapping"),
        ("p: 1\n", "needs `family: <name>`"),
        ("family: poly\nq: 1\n", "unknown parameter 'q'"),
        ("family: poly\np: {lwo: 1}\n", "unknown 'lwo'; did you mean 'low'?"),
        ("family: poly\np: {low: 2, high: 1}\n", "`low < high` must hold"),
        ("family: poly\np: abc\n", "p: value=abc: allowed is a number"),
        ("family: poly\np: {choices: [1, x]}\n", "p: choices=[1,x]: allowed is list of numbers"),
        (
            "family: poly\ninterval: stp\n",
            "interval: value=stp: allowed is step | a number above 0; did you mean 'step'?",
        ),
        ("family: nope\n", "unknown family 'nope'"),
    ],
)
def test_a_bad_space_file_gets_one_line_that_names_it(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "bad.yaml", text)
    assert main([f"space={path}", f"runs_dir={tmp_path / 'runs'}"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "bad" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["poly", "baseline", "baseline_tuned", "my.space", "1st"])
def test_a_space_file_may_not_take_a_built_in_or_odd_name(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"{name}.yaml", "family: poly\np: 3\n")
    with pytest.raises(ConfigError, match=r"built-in name|letters, digits"):
        compose([f"space={path}"])


def test_a_workload_file_may_not_name_code_to_run(tmp_path: Path) -> None:
    text = f"dataset: {{name: 'os:system', path: 'touch {tmp_path}/ran'}}\nlr: 1\n"
    write(tmp_path / "workload" / "evil.yaml", text)
    assert main(["workload=evil", "--config-dir", str(tmp_path), "dry_run=true"]) == 2
    assert not (tmp_path / "ran").exists()


def test_a_broken_file_beside_the_named_one_does_no_harm(tmp_path: Path) -> None:
    write(tmp_path / "space" / "broken.yaml", "family: [unclosed\n")
    write(tmp_path / "space" / "good.yaml", "family: poly\n")
    assert compose(["space=good"], str(tmp_path)).space == ["good"]


def test_a_huge_config_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "big.yaml", "family: poly\n# " + "x" * MAX_BYTES)
    with pytest.raises(ConfigError, match="larger than 100,000 bytes"):
        compose([f"space={path}"])


def test_a_training_of_the_users_own_is_not_imported_to_plan_it() -> None:
    plan = make_plan(
        compose([*USER_TRAINING.split(), "optimizer.momentum=0.5", "space=[poly,momentum]"])
    )
    recipe = plan.recipe
    assert (recipe.trainer, recipe.model) == ("user", "tests.fakes.users_code:train")
    assert (recipe.train_examples, recipe.num_classes, recipe.precision) == (100, 0, "fp32")
    assert recipe.code_digest == recipe.data_fingerprint
    assert len(recipe.code_digest) == 12
    assert plan.delta_ref == pytest.approx(1 / 0.5 / 8**0.5)  # lr / (1 - momentum) * C / sqrt(b)


def test_a_workload_file_holds_the_recipe_of_the_users_own_training(tmp_path: Path) -> None:
    text = (
        "trainer: user\ndataset: {name: none, train_examples: 100}\nmodel: {name: none}\n"
        "precision: fp32\nlr: 1\nbatch: {initial: 8}\nepochs: 3\n"
    )
    write(tmp_path / "workload" / "mine.yaml", text)
    words = ["workload=mine", "trainable=tests.fakes.users_code:train"]
    assert make_plan(compose(words, str(tmp_path))).recipe.train_examples == 100
    write(tmp_path / "workload" / "mine.yaml", text + "trainable: tests.fakes.users_code:train\n")
    with pytest.raises(ConfigError, match="would run code; name it on the command line"):
        compose(["workload=mine"], str(tmp_path))


def test_a_config_without_resume_is_a_new_run() -> None:
    assert make_request({"space": "poly"}).run_dir is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tests.fakes.users_code:linear_model", "too many positional arguments"),
        pytest.param("examples.gpt:nope", "has no attribute 'nope'", marks=pytest.mark.full),
    ],
)
def test_a_trainable_that_cannot_be_called_is_found_before_anything_starts(
    name: str, message: str
) -> None:
    words = [f"trainable={name}", "dataset.train_examples=64", "lr=0.1", "batch.initial=8"]
    with pytest.raises(ConfigError, match=message):
        check_import(compose([*words, "epochs=2"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("step", (0,)), ("0.5", (0.5,)), ("{choices: [step, 0.5, 2]}", (0, 0.5, 2)), ("3", (3,))],
)
def test_an_interval_is_said_alike_in_files_words_and_python(
    tmp_path: Path, text: str, expected: tuple[float, ...]
) -> None:
    path = write(tmp_path / "mine.yaml", f"family: poly\ninterval: {text}\n")
    by_file = make_plan(compose([f"space={path}"])).spaces[0].ranges["interval"]
    name = "choices" if len(expected) > 1 else "value"
    typed = text.removeprefix("{choices: ").removesuffix("}").replace(" ", "")
    by_word = make_plan(compose([f"spaces.poly.interval.{name}={typed}"])).spaces[0]
    words: object = ["step", 0.5, 2] if len(expected) > 1 else "step" if text == "step" else typed
    given = {"space": ["poly"], f"spaces.poly.interval.{name}": words}
    by_python = make_plan(compose(given)).spaces[0]
    for axis in (by_file, by_word.ranges["interval"], by_python.ranges["interval"]):
        assert axis.grid() == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("recipe.interval=step",), 0),
        (("recipe.interval=0.5",), 0.5),
        ((), 1),
        (("epochs=1",), 0),
        (("epochs=1", "recipe.interval=1"), 1),
    ],
)
def test_the_default_decays_every_epoch_and_one_epoch_every_step(
    words: tuple[str, ...], expected: float
) -> None:
    plan = make_plan(compose(list(words)))
    assert plan.baseline is not None
    trial = plan.trial(plan.baseline, plan.baseline.fixed)
    assert trial.params["interval"] == expected
    assert type(trial.params["interval"]) is type(expected)


def test_a_new_run_begins_to_decay_after_its_warmup() -> None:
    assert make_plan(compose(["warmup_epochs=2"])).recipe.decay_after_warmup
    assert not make_plan(compose([])).recipe.decay_after_warmup
    assert make_plan(compose(["reports=7"])).recipe.reports == 7
