"""What to type after trainings ran out of memory."""

from __future__ import annotations

import dataclasses

import pytest

from search_spaces.trial import TrialConfig
from tests.fakes.trials import small_trial
from tuner.display.memory import MemoryUse, batch_under_way


def trial(micro_batch: int | None = None, trainer: str = "network") -> TrialConfig:
    """hybrid: the batch of 16 grows by 1.5 an epoch: 16, 24, 36."""
    made = small_trial("batch.initial=16", space="hybrid")
    recipe = dataclasses.replace(made.recipe, micro_batch=micro_batch, trainer=trainer)
    return dataclasses.replace(made, recipe=recipe)


def test_the_batch_under_way_is_that_of_the_epoch_that_was_not_ended() -> None:
    table = trial().schedule
    grown = [max(s.batch_size for s in table.report_steps(n)) for n in (1, 2, 3)]
    assert [batch_under_way(trial(), n) for n in range(4)] == [*grown, grown[-1]]
    assert grown[0] < grown[1] < grown[2]


def test_what_fitted_is_the_plan() -> None:
    use = MemoryUse()
    assert use.advice() == ""
    use.fitted(trial(), 24)
    use.exceeded(trial(), 2)
    (size,) = use.lost.values()
    assert use.advice().startswith(
        f"1 training ran out of memory at a batch of {size}; 24 fitted: batch.max=24 or "
        "micro_batch=24 in a new run does"
    )


def test_where_nothing_fitted_half_is_worth_a_try() -> None:
    use = MemoryUse()
    use.exceeded(trial(), 0)
    (size,) = use.lost.values()
    assert f"and no other fitted: try batch.max={size // 2} or micro_batch=" in use.advice()


def test_where_the_same_batch_fitted_in_others_it_is_the_neighbours() -> None:
    use = MemoryUse()
    use.fitted(trial(), 64)
    use.exceeded(trial(), 0)
    assert "which fitted in others: fewer at once" in use.advice()
    assert "max_concurrent" in use.advice()
    assert "batch.max" not in use.advice()


def test_a_batch_in_parts_takes_the_memory_of_a_part() -> None:
    use = MemoryUse()
    use.fitted(trial(micro_batch=8), 24)
    use.exceeded(trial(micro_batch=12), 2)
    assert (use.largest, list(use.lost.values())) == (8, [12])


@pytest.mark.parametrize("trainer", ["user", "function"])
def test_only_our_networks_can_split_a_batch(trainer: str) -> None:
    use = MemoryUse()
    use.exceeded(trial(trainer=trainer), 0)
    assert "batch.max=" in use.advice()
    assert "micro_batch" not in use.advice()
