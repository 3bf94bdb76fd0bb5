"""Every parameter group trains at the table's lr times its own factor; recorded is the table's."""

from __future__ import annotations

import copy
import dataclasses
import runpy
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import nn

from results.exports.snippet import export_schedule
from search_spaces.registry import allow_import
from tests.fakes.trials import small_trial
from tests.trainables.test_loop import assert_equal, train
from trainables.adapters import ScheduleLR
from trainables.adapters.group_rates import GroupRates
from trainables.loop import NetworkTraining
from trainables.parameter_groups import group_factors, set_lrs, set_momentum

torch.set_num_threads(1)
HERE = "tests.trainables.test_parameter_groups"


def weights(count: int) -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(1)) for _ in range(count)]


def sgd(*groups: dict[str, float], lr: float = 0.1, **kwargs: float) -> torch.optim.SGD:
    pairs = zip(weights(len(groups)), groups, strict=True)
    return torch.optim.SGD([{"params": [w], **group} for w, group in pairs], lr=lr, **kwargs)


def test_a_factor_is_the_groups_own_lr_over_the_optimizers() -> None:
    assert group_factors(sgd({}, {"lr": 0.01}, {"lr": 0.4})) == pytest.approx([1.0, 0.1, 4.0])
    assert group_factors(sgd({}, {"lr": 0.01}))[0] == 1.0  # exactly: bit for bit as without groups


def test_layer_decay_of_timm_multiplies_it() -> None:
    layers = sgd({"lr_scale": 0.25}, {"lr_scale": 0.5}, {})
    assert group_factors(layers) == [0.25, 0.5, 1.0]
    assert group_factors(sgd({}, {"lr": 0.2, "lr_scale": 0.25})) == pytest.approx([1.0, 0.5])


def test_groups_of_one_lr_need_no_reference() -> None:
    # The optimizer's own lr is torch's default there, or 0: nobody asked for it.
    assert group_factors(sgd({"lr": 0.3}, {"lr": 0.3}, lr=0.001)) == [1.0, 1.0]
    assert group_factors(sgd({}, {}, lr=0.0)) == [1.0, 1.0]


def test_the_lr_that_was_asked_for_is_a_reference_where_groups_differ() -> None:
    apart = sgd({"lr": 0.01}, {"lr": 0.4}, lr=0.1)
    assert group_factors(apart, asked_lr=0.1) == pytest.approx([0.1, 4.0])
    with pytest.raises(ValueError, match="no parameter group trains at the optimizer's own"):
        group_factors(apart, asked_lr=0.2)  # the optimizer has another: torch's default, say
    assert group_factors(sgd({"lr": 0.01}, {"lr": 0.01}, lr=0.1), asked_lr=0.1) == [1.0, 1.0]


def test_a_scheduler_before_leaves_the_lr_that_a_group_was_made_with() -> None:
    optimizer = sgd({}, {"lr": 0.01})
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.37)
    assert group_factors(optimizer) == pytest.approx([1.0, 0.1])


@pytest.mark.parametrize("lr", [0.001, 0.0])
def test_groups_without_a_reference_are_refused_in_one_line(lr: float) -> None:
    with pytest.raises(ValueError, match="no parameter group trains at the optimizer's own") as e:
        group_factors(sgd({"lr": 0.1}, {"lr": 0.01}, lr=lr))
    assert "\n" not in str(e.value)
    assert "SGD(groups, lr=0.1)" in str(e.value)
    told = group_factors(sgd({"lr": 0.1}, {"lr": 0.01}, lr=lr), base_lr=0.1)
    assert told == pytest.approx([1.0, 0.1])


def test_an_lr_that_is_a_tensor_stays_the_same_tensor() -> None:
    kept = torch.tensor(0.1)
    optimizer = torch.optim.SGD(weights(1), lr=kept)
    group = optimizer.param_groups[0]
    before = group["lr"]
    set_lrs(optimizer, [0.5])
    assert group["lr"] is before
    assert before.item() == 0.5


def test_momentum_goes_into_groups_that_have_one() -> None:
    heavy = sgd({}, {}, momentum=0.9)
    set_momentum(heavy, 0.5)
    assert [group["momentum"] for group in heavy.param_groups] == [0.5, 0.5]
    adam = torch.optim.AdamW(weights(1))
    set_momentum(adam, 0.5)
    assert "momentum" not in adam.param_groups[0]


FROZEN, OTHER = {"lr": 0.0}, {"lr": 0.04}
CLEAR: dict[str, Callable[[], torch.optim.Optimizer]] = {
    "one lr": lambda: sgd({}, {}),
    "one lr of 0": lambda: sgd({}, {}, lr=0.0),
    "one lr beside the optimizer's": lambda: sgd(OTHER, OTHER, lr=0.0),
    "head and body": lambda: sgd({}, OTHER),
    "a frozen group": lambda: sgd({}, FROZEN),
    "layer decay": lambda: sgd({"lr_scale": 0.7}, {"lr": 0.03, "lr_scale": 0.9}, {}),
    "a tensor": lambda: torch.optim.SGD(weights(1), lr=torch.tensor(0.1)),
    "tensors": lambda: torch.optim.SGD(
        [{"params": weights(1)}, {"params": weights(1), "lr": torch.tensor(0.05)}],
        lr=torch.tensor(0.1),
    ),
}
UNCLEAR: dict[str, Callable[[], torch.optim.Optimizer]] = {
    "a frozen group at the optimizer's lr of 0": lambda: sgd({}, OTHER, lr=0.0),
    "none at the optimizer's": lambda: sgd(OTHER, {"lr": 0.2}),
    "none at the optimizer's of 0": lambda: sgd(OTHER, {"lr": 0.2}, lr=0.0),
}


@pytest.fixture(scope="module")
def set_step(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Of an exported snippet."""
    *_, snippet = export_schedule(small_trial(), tmp_path_factory.mktemp("export"))
    found: Callable[..., None] = runpy.run_path(str(snippet))["set_step"]
    return found


@pytest.mark.parametrize("name", CLEAR)
def test_a_snippet_and_an_adapter_set_the_same_lr(
    name: str, set_step: Callable[..., None]
) -> None:
    schedule, stepped, followed = small_trial().schedule, CLEAR[name](), CLEAR[name]()
    rates, kept = GroupRates(schedule, followed), [g["lr"] for g in stepped.param_groups]
    for number in (0, schedule.num_steps() - 1):
        rates.set(number)
        set_step(stepped, float(schedule.lr_S[schedule.step_at(number).stage]), 0.0)
        first, second = (
            [float(group["lr"]) for group in optimizer.param_groups]
            for optimizer in (stepped, followed)
        )
        assert first == second
        assert first[0] > 0
    assert all(
        group["lr"] is lr
        for lr, group in zip(kept, stepped.param_groups, strict=True)
        if isinstance(lr, torch.Tensor)
    )


@pytest.mark.parametrize("name", UNCLEAR)
def test_a_snippet_and_an_adapter_refuse_the_same_optimizers(
    name: str, set_step: Callable[..., None]
) -> None:
    with pytest.raises(ValueError, match="no group trains at the optimizer's lr"):
        set_step(UNCLEAR[name](), 0.5, 0.0)
    with pytest.raises(ValueError, match="no parameter group trains at the optimizer's own lr"):
        GroupRates(small_trial().schedule, UNCLEAR[name]())


# Optimizers as a user writes them.

Named = Iterable[tuple[str, nn.Parameter]]


def head_and_body(params: Named, *, lr: float, momentum: float, **_: object) -> torch.optim.SGD:
    """The last layer at a tenth, and the first at the double, of the rest."""
    named = dict(params)
    head = [p for name, p in named.items() if name.startswith("head")]
    stem = [p for name, p in named.items() if name.startswith("stem")]
    assert head
    assert stem
    body = [p for name, p in named.items() if not name.startswith(("head", "stem"))]
    groups = [
        {"params": head, "lr": 0.1 * lr},
        {"params": body},
        {"params": stem, "lr_scale": 2.0},
    ]
    return torch.optim.SGD(groups, lr=lr, momentum=momentum)


def frozen_body(params: Named, *, lr: float, **_: object) -> torch.optim.SGD:
    """The last layer at ten times the lr, the rest at none."""
    named = dict(params)
    head = [p for name, p in named.items() if name.startswith("head")]
    body = [p for name, p in named.items() if not name.startswith("head")]
    groups = [{"params": body, "lr": 0.0}, {"params": head, "lr": 10.0 * lr}]
    return torch.optim.SGD(groups, lr=lr)


def all_frozen(params: Named, *, lr: float, **_: object) -> torch.optim.SGD:
    return torch.optim.SGD([{"params": params, "lr_scale": 0.0}], lr=lr)


def all_at_a_tenth(params: Named, *, lr: float, **_: object) -> torch.optim.SGD:
    return torch.optim.SGD([{"params": params, "lr": 0.1 * lr}], lr=lr)


def plain_before(
    params: Iterable[nn.Parameter],
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """As one wrote it before parameters had names: handed on as they are."""
    return torch.optim.SGD(
        params,
        lr=lr,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        fused=True,
    )


def lr_of_its_own(params: Named, **_: object) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.123)


def looks_inside(params: Iterable[nn.Parameter], *, lr: float, **_: object) -> torch.optim.SGD:
    return torch.optim.SGD([p for p in params if p.requires_grad], lr=lr)


def broken(params: Named, **_: object) -> torch.optim.Optimizer:
    raise TypeError("a mistake of its own")


def training_with(optimizer: str) -> NetworkTraining:
    trial = small_trial("batch.initial=64", "epochs=2")
    recipe = dataclasses.replace(trial.recipe, optimizer=f"{HERE}:{optimizer}")
    allow_import(recipe.optimizer)  # as whoever names it would
    return NetworkTraining(dataclasses.replace(trial, recipe=recipe))


def test_every_group_of_a_users_optimizer_follows_the_table_times_its_factor() -> None:
    training = training_with("head_and_body")
    used: list[list[float]] = []
    training.optimizer.register_step_post_hook(
        lambda optimizer, *_: used.append([group["lr"] for group in optimizer.param_groups])
    )
    while not training.finished:
        training.run_epoch()
    table = training.schedule
    lrs = [float(table.lr_S[step.stage]) for step in table.steps()]
    assert len(set(lrs)) > 1
    for at_step, lr in zip(used, lrs, strict=True):
        assert at_step == pytest.approx([0.1 * lr, lr, 2.0 * lr], rel=1e-15)
        assert at_step[1] == lr
    ends = [table.epoch_steps(epoch)[-1].stage for epoch in (1, 2)]
    assert [record.lr for record in training.records] == [float(table.lr_S[m]) for m in ends]


def test_a_frozen_group_stays_as_it_is_and_the_tables_lr_is_recorded() -> None:
    training = training_with("frozen_body")
    before = {name: p.detach().clone() for name, p in training.model.named_parameters()}
    record = training.run_epoch()
    moved = {n for n, p in training.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {name for name in before if name.startswith("head")}
    table = training.schedule
    assert record.lr == pytest.approx(table.lr_S[table.epoch_steps(1)[-1].stage], rel=1e-15)


def test_where_all_groups_are_frozen_the_tables_lr_is_recorded() -> None:
    training = training_with("all_frozen")
    table = training.schedule
    assert training.run_epoch().lr == float(table.lr_S[table.epoch_steps(1)[-1].stage])


def test_an_optimizer_follows_the_table_alike_in_the_search_and_from_its_export(
    tmp_path: Path,
) -> None:
    trial = small_trial("batch.initial=64", "epochs=2")
    searched = training_with("all_at_a_tenth")
    while not searched.finished:
        searched.run_epoch()
    table = searched.schedule
    lr = float(table.lr_S[-1])
    assert 0.2 * trial.lr0 < lr < trial.lr0

    followed, stepped = (all_at_a_tenth([("w", w)], lr=trial.lr0) for w in weights(2))
    scheduler = ScheduleLR(followed, table)
    followed.step()  # torch warns where its schedulers come first
    scheduler.go_to(table.num_steps() - 1)
    *_, snippet = export_schedule(trial, tmp_path)
    runpy.run_path(str(snippet))["set_step"](stepped, lr, 0.0)
    for optimizer in (searched.optimizer, followed, stepped):
        assert [group["lr"] for group in optimizer.param_groups] == [lr]


def test_groups_go_on_from_a_checkpoint_as_if_nothing_had_happened() -> None:
    whole = training_with("head_and_body")
    whole.run_epoch()
    resumed = training_with("head_and_body")
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    whole.run_epoch()
    resumed.run_epoch()
    assert resumed.records[-1].train_loss == whole.records[-1].train_loss
    assert resumed.records[-1].lr == whole.records[-1].lr


def test_a_checkpoint_of_before_parameters_had_names_is_taken_up() -> None:
    whole = training_with("plain_before")
    whole.run_epoch()
    state = copy.deepcopy(whole.state_dict())
    for group in state["optimizer"]["param_groups"]:
        del group["param_names"]
    resumed = training_with("plain_before")
    resumed.load_state_dict(state)
    resumed.run_epoch()
    whole.run_epoch()
    assert resumed.records[-1].train_loss == whole.records[-1].train_loss


@pytest.mark.slow
def test_a_function_that_handed_plain_parameters_on_trains_bit_for_bit_as_before() -> None:
    mine = training_with("plain_before")
    while not mine.finished:
        mine.run_epoch()
    assert_equal(mine, train(small_trial("batch.initial=64", "epochs=2")))


def test_an_optimizer_with_an_lr_of_its_own_follows_the_table() -> None:
    record = training_with("lr_of_its_own").run_epoch()
    table = training_with("lr_of_its_own").schedule
    assert record.lr == float(table.lr_S[table.epoch_steps(1)[-1].stage])


def test_a_function_that_takes_pairs_for_parameters_is_told_in_one_line() -> None:
    with pytest.raises(ValueError, match="for name, parameter in params") as error:
        training_with("looks_inside")
    assert "\n" not in str(error.value)
    with pytest.raises(TypeError, match="a mistake of its own"):
        training_with("broken")
