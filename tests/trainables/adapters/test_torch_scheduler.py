"""torch's optimizer follows the table, group by group, and goes on from a state."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.noise_law import NoiseLaw
from search_spaces.schedule import Schedule, make_schedule
from tests.fakes.followed import (
    FACTORS,
    decaying,
    group_lrs,
    growing,
    head_and_backbone,
    losing_momentum,
    lr_by_step,
    two_groups,
)
from trainables.adapters import ScheduleLR

torch.set_num_threads(1)


def used(optimizer: torch.optim.Optimizer, scheduler: Any, count: int) -> list[list[float]]:
    """lr of each group at each of so many optimizer steps."""
    seen = []
    for _ in range(count):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("table", [decaying(), growing()], ids=["decaying", "growing"])
def test_every_group_has_the_tables_lr_times_its_own_factor(table: Schedule) -> None:
    optimizer = two_groups(head_and_backbone())
    seen = used(optimizer, ScheduleLR(optimizer, table), table.num_steps())
    np.testing.assert_allclose(seen, group_lrs(table), rtol=1e-14)
    assert [first for first, _ in seen] == lr_by_step(table)


def test_linear_decay_by_step_is_torchs_own_scheduler() -> None:
    steps = 32
    table = make_schedule(
        lambda u: 1 - u, epochs=2, train_examples=64, interval=0, lr0=0.2, batch0=4
    )
    ours, theirs = two_groups(head_and_backbone()), two_groups(head_and_backbone())
    polynomial = torch.optim.lr_scheduler.PolynomialLR(theirs, total_iters=steps, power=1.0)
    expected = used(theirs, polynomial, steps)
    np.testing.assert_allclose(used(ours, ScheduleLR(ours, table), steps), expected, rtol=1e-12)


def test_it_goes_on_from_a_state_midway() -> None:
    table, whole = decaying(), two_groups(head_and_backbone())
    scheduler = ScheduleLR(whole, table)
    used(whole, scheduler, 10)
    file = io.BytesIO()
    torch.save({"optimizer": whole.state_dict(), "scheduler": scheduler.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed = two_groups(head_and_backbone())
    follows = ScheduleLR(resumed, table)
    resumed.load_state_dict(state["optimizer"])
    follows.load_state_dict(state["scheduler"])
    seen = used(resumed, follows, table.num_steps() - 10)
    np.testing.assert_allclose(seen, group_lrs(table)[10:], rtol=1e-14)


def test_it_goes_on_by_the_count_of_steps_where_only_the_optimizer_was_saved() -> None:
    table, whole = decaying(), two_groups(head_and_backbone())
    used(whole, ScheduleLR(whole, table), 10)
    resumed = two_groups(head_and_backbone())
    resumed.load_state_dict(whole.state_dict())
    follows = ScheduleLR(resumed, table, last_epoch=9)
    seen = used(resumed, follows, table.num_steps() - 10)
    np.testing.assert_allclose(seen, group_lrs(table)[10:], rtol=1e-14)


def test_the_lr_stays_after_the_last_step_and_a_longer_training_is_refused() -> None:
    table, optimizer = growing(), two_groups(head_and_backbone())
    scheduler = ScheduleLR(optimizer, table)
    used(optimizer, scheduler, table.num_steps())
    assert scheduler.get_last_lr() == pytest.approx([lr_by_step(table)[-1] * f for f in FACTORS])
    optimizer.step()
    with pytest.raises(ValueError, match="has 14 optimizer steps, but the training goes on"):
        scheduler.step()


def test_momentum_is_the_schedules_and_left_alone_where_that_has_none() -> None:
    table = losing_momentum()
    optimizer = two_groups(head_and_backbone(), momentum=0.9)
    scheduler, seen = ScheduleLR(optimizer, table), []
    for _ in range(table.num_steps()):
        seen.append([group["momentum"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    expected = [float(table.momentum_S[step.stage]) for step in table.steps()]
    assert seen == [[beta, beta] for beta in expected]
    assert seen[-1][0] < 0.9
    own = two_groups(head_and_backbone(), momentum=0.7)
    ScheduleLR(own, decaying())
    assert [group["momentum"] for group in own.param_groups] == [0.7, 0.7]
    ScheduleLR(own, growing(law=NoiseLaw(momentum=0.8)))
    assert [group["momentum"] for group in own.param_groups] == [0.8, 0.8]
    with pytest.raises(ValueError, match="the schedule lowers momentum, but AdamW has none"):
        ScheduleLR(torch.optim.AdamW(head_and_backbone().parameters()), table)


def test_a_reference_lr_can_be_named() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.2)
    scheduler = ScheduleLR(optimizer, decaying(), base_lr=0.1)
    assert scheduler.get_last_lr() == pytest.approx([2 * lr_by_step(decaying())[0]])
