"""Is what docs/any_training.md says in its prose and its middle-of-a-function snippets so?

Each test quotes its sentence (`says`): a page that says something else needs another test. What
`report` checks and keeps is in tests/trainables/user; whole runs are in tests/commands and
tests/tuner/test_api.py.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import math
import random
import re
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data import Dataset, TensorDataset

import results
import tuner
from search_spaces.schedule import Schedule
from tests.conftest import ROOT
from tests.docs.text import blocks
from tests.fakes.tune_loop import do_without_ray
from tests.trainables.user.test_user_training import user_trial
from tests.trainables.user.threads import InThread
from trainables.trainable import ScheduledTrainable
from trainables.user.adapter import UserTraining
from trainables.user.report import Report
from tuner.config.compose import compose
from tuner.config.schema import KEYS, MISSING, ConfigError, value_of
from tuner.plan.plan import make_plan
from tuner.plan.usercode import check_import, code_digest
from tuner.run import make_request
from tuner.session.cluster import lay_out

torch.set_num_threads(1)
PAGE = "docs/any_training.md"
TEXT = " ".join((ROOT / PAGE).read_text().split())
TRAINABLE = "trainable=tests.fakes.losses:descend"
WORDS = (TRAINABLE, "dataset.train_examples=60", "lr=0.5", "batch.initial=6", "epochs=4")
LAST = {"val_accuracy": 0.5, "test_accuracy": 0.5}


def says(sentence: str) -> None:
    """The page has these words."""
    assert sentence in TEXT, f"{PAGE} no longer says: {sentence}"


def snippet(beginning: str) -> str:
    """The Python block that begins so."""
    (text,) = [b.text for b in blocks() if b.page == PAGE and b.text.startswith(beginning)]
    return text


def finish(function: Any, **kwargs: Any) -> UserTraining:
    training = InThread(user_trial(**kwargs), trainable=function)
    while not training.finished:
        training.run_epoch()
    return training


def only_reports(schedule: Schedule, seed: int, report: Report) -> None:
    for _ in range(schedule.num_epochs):
        report(**LAST)


# Values for keys that have none of their own.
OF_KIND: dict[str, Any] = {"int": 3, "float": 0.5, "Interval": 2, "bool": False, "str": "some"}


@pytest.mark.parametrize("key", [key for key in KEYS if key != "resume"])
def test_every_key_is_taken_from_python(key: str) -> None:
    says("`tuner.search` takes every key of [keys.md](keys.md) but `dry_run` (those with a dot in")
    value, kind = KEYS[key].default, KEYS[key].kind
    if value in (None, MISSING):
        names = KEYS[key].allowed.names if kind == "str" else ()
        value = next(iter(names), OF_KIND[kind])
    config = make_request({"workload": "digits", **{key: value}}).config
    assert value_of(config, key) == value


def test_only_the_command_line_has_a_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    do_without_ray(monkeypatch)
    says("every key of [keys.md](keys.md) but `dry_run`")
    says("raises `ConfigError` for a mistake")
    with pytest.raises(ConfigError, match="dry_run: only the command line has it"):
        tuner.search("poly", dry_run=True)


def diverge(schedule: Schedule, seed: int, report: Report) -> None:
    report(val_accuracy=math.nan)


@pytest.mark.full
@pytest.mark.slow
def test_a_run_whose_trainings_all_diverge_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says("`RuntimeError` when the run failed, as where every training diverged")
    do_without_ray(monkeypatch)
    settings = {"dataset.train_examples": 60, "batch.initial": 6, "confirm.seeds": 1}
    keys = {"lr": 0.5, "epochs": 4, "trials": 2, "display": "none", "runs_dir": tmp_path}
    with pytest.raises(
        RuntimeError, match=r"^all 4 trainings diverged \(first at epoch 1\): lower"
    ):
        tuner.search("poly", diverge, name="lost", settings=settings, **keys)
    rows = results.load(tmp_path / "lost").trials.to_pylist()
    assert [row["status"] for row in rows] == ["diverged"] * 4


def test_resources_are_what_one_training_occupies(monkeypatch: pytest.MonkeyPatch) -> None:
    says("| `resources.gpus_per_trial`, `resources.cpus_per_trial` | what one training occupies |")
    import ray

    node = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [node])
    words = [*WORDS, "resources.cpus_per_trial=2", "resources.gpus_per_trial=0.5"]
    slots = lay_out(compose(words))
    assert (slots.cpus_per_trial, slots.gpus_per_trial) == (2.0, 0.5)
    assert slots.max_concurrent == 2  # by its two halves of a GPU; CPUs would be enough for four
    assert make_plan(compose(words)).recipe.num_threads == 2


@pytest.mark.parametrize(("keeps", "num_steps"), [(True, 40), (False, 20 + 40)])
def test_a_prefix_without_a_state_is_trained_from_the_start_again(
    tmp_path: Path, keeps: bool, num_steps: int
) -> None:
    says("`search.fidelity=prefix` needs a state: without one every promotion trains from the")
    says("start again, and more samples than the plan counts.")
    steps = []

    def function(schedule: Schedule, seed: int, report: Report) -> None:
        for number in range(report.report + 1, schedule.num_reports + 1):
            steps.extend(schedule.report_steps(number))
            report(**LAST, state={"any": 1} if keeps else None)

    class Worker(ScheduledTrainable):
        def make_training(self, config: dict[str, Any]) -> UserTraining:
            return InThread(self.trial, trainable=function)

    whole = user_trial(recipe={"train_examples": 60, "batch0": 6})
    for trial in (dataclasses.replace(whole, until=2), whole):
        worker = Worker({"trial": json.dumps(trial.to_dict()), "checkpoints": str(tmp_path)})
        while not worker.step()["done"]:
            pass
    assert len(steps) == num_steps


@pytest.mark.parametrize(
    "word",
    [
        *("optimizer.weight_decay=0.1", "optimizer.clip_norm=1", "optimizer.nesterov=true"),
        *("model=resnet8", "dataset=digits", "model.width=4"),
    ],
)
def test_keys_for_what_is_the_functions_business_are_refused(word: str) -> None:
    says("Weight decay, clipping, model and data are your function's business; keys for them are")
    with pytest.raises(ConfigError, match=re.escape(word.partition("=")[0])):
        make_plan(compose([*WORDS, word]))


@pytest.mark.slow
def test_any_number_of_the_functions_business_can_be_searched() -> None:
    says("Any number of them can be searched all the same")
    says("A parameter of a space that no schedule has is handed to your function, in the argument")
    says("A function without `params` is refused before anything starts")
    says('`params.get("beta2", 0.95)` is your present recipe')
    config = compose([*WORDS, "spaces.poly.beta2.value=0.9"])
    plan = make_plan(config)
    assert plan.handed == ("beta2",)
    with pytest.raises(ConfigError, match="takes no argument `params`, by which beta2 would be"):
        check_import(config, plan.handed)


@pytest.mark.parametrize("optimizer", ["sgd", "shb", "nshb", "adamw"])
def test_optimizer_and_momentum_are_labels_that_choose_the_noise_law(optimizer: str) -> None:
    says("labels that choose the noise law (sgd, shb, nshb, adamw)")
    momentum = [] if optimizer == "adamw" else ["optimizer.momentum=0.9"]
    recipe = make_plan(compose([*WORDS, f"optimizer={optimizer}", *momentum])).recipe
    expected = {"sgd": "sgd", "shb": "shb", "nshb": "nshb_b", "adamw": "sgd"}
    assert recipe.noise_law == expected[optimizer]
    assert recipe.optimizer == optimizer


def test_delta_of_adamw_is_lr_over_the_root_of_the_batch() -> None:
    says("With adamw, delta = lr * C / sqrt(batch) is a label")
    trial = user_trial(recipe={"optimizer": "adamw", "c2": 4.0}, params={"split": 0.5})
    table = trial.schedule
    expected = 2.0 * table.lr_S / table.batch_size_S**0.5
    assert table.delta_S.tolist() == pytest.approx(expected.tolist(), rel=1e-12)


def test_the_present_recipe_is_the_centre_of_the_search_and_the_baseline() -> None:
    says("your present recipe: centre of the search and, with `recipe.family`, the baseline")
    plan = make_plan(compose([*WORDS, "space=poly", "recipe.family=cosine"]))
    delta0 = plan.spaces[0].ranges["delta0"]
    assert delta0.low is not None
    assert delta0.high is not None
    assert math.sqrt(delta0.low * delta0.high) == pytest.approx(0.5 / math.sqrt(6), rel=1e-12)
    assert plan.baseline is not None
    table = plan.trial(plan.baseline, dict(plan.baseline.fixed), role="confirm").schedule
    assert (table.lr_S[0], table.batch_size_S[0]) == (pytest.approx(0.5), 6)
    halves = 0.25 * (1 + math.cos(math.pi / 4))
    assert table.lr_S[table.num_stages // 4] == pytest.approx(halves)


def test_pythons_own_generator_is_seeded_too() -> None:
    says("Python's, numpy's and torch's global generators are seeded with it")
    drawn = []

    def function(schedule: Schedule, seed: int, report: Report) -> None:
        drawn.append(random.random())
        only_reports(schedule, seed, report)

    for seed in (1, 1, 2):
        finish(function, seed=seed)
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_functions_code_is_watched_with_what_it_imports(tmp_path: Path) -> None:
    says("a resume refuses it where it does something else than when the run began")
    says("also in files of its folder that it imports; comments and docstrings may change.")
    says("The data it reads is not watched.")
    mine, helper = tmp_path / "mine.py", tmp_path / "helper.py"
    mine.write_text("import helper\ndef train(schedule, seed, report): open('data.txt')\n")
    helper.write_text("x = 1\n")
    (tmp_path / "data.txt").write_text("1")

    def digest() -> str:
        return code_digest(compose([f"trainable={mine}:train", *WORDS[1:]]))

    before = digest()
    (tmp_path / "data.txt").write_text("2")
    mine.write_text(mine.read_text() + "# another comment\n")
    assert digest() == before
    helper.write_text("x = 2\n")
    assert digest() != before


def test_a_notebooks_function_travels_with_its_globals_and_not_with_a_cache() -> None:
    says("A function of a notebook travels by value, with the globals it refers to; a")
    says("`functools.cache` of the notebook does not travel.")
    from ray import cloudpickle  # what carries it to the workers

    notebook: dict[str, Any] = {"__name__": "__main__", "functools": functools}
    code = """
        SLOPE = 3
        def train(): return SLOPE
        @functools.cache
        def data(): return SLOPE
        def cached(): return data()
    """
    exec(textwrap.dedent(code), notebook)
    travelled = cloudpickle.loads(cloudpickle.dumps(notebook["train"]))
    notebook["SLOPE"] = 4
    assert (travelled(), notebook["train"]()) == (3, 4)
    with pytest.raises(Exception, match="data"):
        cloudpickle.loads(cloudpickle.dumps(notebook["cached"]))()


@pytest.mark.parametrize(
    "changes", [{"params": {"split": 0.0}}, {"horizon": 0.75}, {"params": {"interval": 2}}]
)
def test_growing_batches_and_shorter_tables_need_nothing_else(changes: dict[str, Any]) -> None:
    says("a batch may cross the border of an epoch")
    says("hands out shorter tables, and growing batches (`split=0`) need nothing else")
    names: dict[str, Any] = {}
    exec(snippet("import torch\nfrom torch.nn import functional"), names)
    recipe = {"train_examples": 100, "batch0": 14, "epochs": 4}
    training = finish(names["train"], recipe=recipe, **changes)
    table = training.schedule
    assert len(training.records) == table.num_epochs
    assert training.records[-1].samples_seen >= table.total_samples
    last = [step.first_sample + step.batch_size - 1 for step in table.steps()]
    assert any(
        s.first_sample // 100 < end // 100 for s, end in zip(table.steps(), last, strict=True)
    )


def test_the_lines_that_go_on_from_a_state_go_on_from_it() -> None:
    says("An interrupted training then starts with it in `report.state` and with")
    lines = textwrap.dedent(snippet("    if report.state is not None:"))
    body = lines.replace("    ...\n", "    optimizer.step()\n").replace("(...,", "(**LAST,")
    setup = """
        model = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        begun.append((report.epoch, report.state is not None))
    """
    begun: list[tuple[int, bool]] = []
    names: dict[str, Any] = {"torch": torch, "LAST": LAST, "begun": begun}
    whole = textwrap.indent(textwrap.dedent(setup) + body, "    ")
    exec(f"def train(schedule, seed, report):\n{whole}", names)
    first = InThread(user_trial(), trainable=names["train"])
    first.run_epoch()
    second = InThread(user_trial(), trainable=names["train"])
    second.load_state_dict(first.state_dict())
    while not second.finished:
        second.run_epoch()
    assert begun == [(0, False), (1, True)]
    assert len(second.records) == second.schedule.num_epochs


class Images(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Sixty of two classes."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((3,), index / 60), torch.tensor(index % 2)


class Dicts(Dataset[dict[str, torch.Tensor]]):
    """The same by name, for a Trainer."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        x, label = Images()[index]
        return {"x": x, "labels": label}


class Net(nn.Module):
    """Two layers for two groups; notes how large each training batch was."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
        self.sizes.append(len(x))
        logits = self.head(self.backbone(x))
        return logits if labels is None else {"loss": functional.cross_entropy(logits, labels)}


def head_and_backbone(net: Net) -> torch.optim.SGD:
    groups = [
        {"params": [*net.head.parameters()]},
        {"params": [*net.backbone.parameters()], "lr": 0.01},
    ]
    return torch.optim.SGD(groups, lr=0.1)


def follow(beginning: str, names: dict[str, Any]) -> tuple[UserTraining, list[list[float]]]:
    """Train as the page says, along growing batches; the training, and each step's lr by group."""
    used: list[list[float]] = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: used.append([group["lr"] for group in optimizer.param_groups])
    )
    text = snippet(beginning).replace("num_workers=4", "num_workers=0")
    text = text.replace('timm.create_model("resnet50", num_classes=100)', "make_model()")
    known = {"loss": lambda model, part: {"val": 3.25, "test": 3.5}[part]}
    names = {"functional": functional, **known, **names}
    exec(text, names)
    recipe = {"train_examples": 60, "batch0": 8, "objective": "val_loss", "goal": "min"}
    params = {"split": 0.0, "p": 0.5}  # batches of 8, 10.67, 16 and 32, rounded
    try:
        training = finish(names["train"], recipe=recipe, params=params, role="confirm")
    finally:
        hook.remove()
    assert [record.val_loss for record in training.records] == [3.25] * 4
    assert (training.outcome().objective, training.outcome().test_loss) == (3.25, 3.5)
    return training, used


def lrs(training: UserTraining, *factors: float) -> np.ndarray[Any, Any]:
    table = training.schedule
    return np.outer([table.lr_S[step.stage] for step in table.steps()], factors)


def sizes(training: UserTraining) -> list[int]:
    found = [step.batch_size for step in training.schedule.steps()]
    assert len(set(found)) > 1
    return found


def test_the_extras_are_named() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name in ("transformers", "lightning", "timm"):
        assert extras["optional-dependencies"][name][0].startswith(name)
        assert f"[{name}]" in TEXT


def test_torchs_lines_follow_the_table() -> None:
    net = Net()
    names = {
        **{"make_model": lambda: net, "make_optimizer": lambda: head_and_backbone(net)},
        "data": Images(),
    }
    training, used = follow("from torch.utils.data import DataLoader\nfrom trainables", names)
    np.testing.assert_allclose(used, lrs(training, 1.0, 0.1), rtol=1e-12)
    assert net.sizes == sizes(training)


@pytest.mark.slow
def test_the_lines_of_transformers_follow_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    net = Net()
    names = {"make_model": lambda: net, "data": Dicts()}
    training, used = follow("from trainables.adapters.transformers", names)
    np.testing.assert_allclose(used, lrs(training, 1.0, 1.0), rtol=1e-12)  # with, without decay
    assert net.sizes == sizes(training)


@pytest.mark.filterwarnings(
    "ignore:The 'train_dataloader' does not have many workers",
    "ignore:The number of training batches",
    "ignore:.*LeafSpec.* is deprecated",
)
@pytest.mark.slow
def test_the_lines_of_lightning_follow_the_table(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def training_step(self, batch: list[torch.Tensor], index: int) -> Any:
            return self.net(*batch)["loss"]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return head_and_backbone(self.net)

    module = Module()
    names = {"make_module": lambda: module, "data": Images()}
    training, used = follow("import lightning", names)
    np.testing.assert_allclose(used, lrs(training, 1.0, 0.1), rtol=1e-12)
    assert module.net.sizes == sizes(training)


@pytest.mark.slow
def test_the_lines_of_timm_follow_the_table_times_its_layer_decay() -> None:
    timm = pytest.importorskip("timm")
    settings = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=2, **settings)
    images = TensorDataset(torch.randn(60, 3, 16, 16), torch.arange(60) % 2)
    training, used = follow("import timm", {"make_model": lambda: model, "data": images})
    # Two blocks, the embedding below them, and the head above: 0.75 to the power of 3, 2, 1, 0.
    scales = {round(lr / used[0][-1], 9) for lr in used[0]}
    assert scales == {round(0.75**depth, 9) for depth in range(4)}
    np.testing.assert_allclose([max(step) for step in used], lrs(training, 1.0)[:, 0], rtol=1e-12)
    sizes(training)
