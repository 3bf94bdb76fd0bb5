"""What would this run do, and how long would it take? Prints the plan; trains one epoch."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console

from results.statistics.cost import Devices, devices_of, hours_text
from search_spaces.registry import lookup
from search_spaces.schedule import Schedule
from search_spaces.space import SearchSpace
from search_spaces.trial import Role, sample_word
from trainables import REPORT_SECONDS, TRAINERS
from trainables.failures import FunctionError, ProcessError
from tuner.campaign.campaign import Campaign
from tuner.campaign.forecast import Forecast
from tuner.config.schema import ConfigError
from tuner.display.phrases import describe_params, describe_seconds, stage_lines
from tuner.plan.host import num_cpus
from tuner.plan.plan import Plan
from tuner.session.capacity import ask_here, cap_batches
from tuner.session.cluster import settle, slots_on

if TYPE_CHECKING:  # torch
    from trainables.training import Training

# From one report to the next through Tune, which a training waits for: 11 s of 2,000 on two CPUs.
HANDOVER_SECONDS = 0.0055
SHORT_SECONDS = 1.0  # a first epoch below is followed by a second one
# Of a process, besides importing the function: forking, seeding torch, ending (0.2 s measured).
PROCESS_SECONDS = 0.2


def print_plan(plan: Plan, *, is_new: bool = True) -> None:
    """Configs x seeds x epochs, samples in total, first schedules, time after one timed epoch."""
    # torch: a real run's driver never has it
    from trainables.training import num_gpus, pick_device

    device = pick_device()
    slots = slots_on([(num_cpus(), num_gpus())], plan.config)
    plan = settle(plan, device, slots.cpus_per_trial if is_new else None)
    plan = cap_batches(plan, slots, ask_here) if is_new else plan
    devices = devices_of(asdict(slots))
    console = Console(highlight=False, soft_wrap=True, markup=False)
    config, recipe, confirm = plan.config, plan.recipe, plan.config.confirm
    unit = sample_word(config.unit, recipe.trainer)
    length = f"{recipe.epochs} epoch{'s' * (recipe.epochs != 1)}"
    console.print(
        f"workload {config.workload}: {recipe.title}, {recipe.train_examples:,} training "
        f"{unit}, {length}, {recipe.precision}"
    )
    if recipe.trainer != "function":
        console.print(recipe.law.formula)
    for space in filter(plan.quota, plan.spaces):
        quota = plan.quota(space)
        samples = plan.ladder.samples(quota)
        line = f"search {space.name}: {plan.ladder.describe(quota)} = {samples:,} {unit}"
        if plan.ladder.fidelity != "full":
            share = 100 * samples / (quota * plan.samples_per_trial)
            line += f" ({share:.0f} % of training all in full)"
        console.print(line)
    if confirm.top_k > 1:
        console.print(f"select: {confirm.top_k} configs x {confirm.select_seeds} seeds an arm")
    until = f" (up to {confirm.max_seeds}, until the verdict is decided)"
    console.print(
        f"confirm {', '.join(plan.trials_by_arm())}: 1 config x {confirm.seeds} seeds"
        f"{until if confirm.until == 'decided' else ''} x {length} each"
    )
    searched = sum(sum(plan.ladder.sizes(plan.quota(space))) for space in plan.spaces)
    console.print(
        f"in total {plan.num_trials} trainings ({searched} searched), {plan.num_samples:,} {unit}"
    )
    campaign = Campaign(plan)
    num_shared = 0
    if campaign.forecast is not None:
        num_shared = _print_sharing(campaign.forecast, unit, console)
    for title, table in _first_schedules(plan, campaign):
        console.print(f"\n{title}")
        for line in stage_lines(table):
            console.print(f"  {line}")
    seconds, num_timed, start_seconds = _time_one_training(plan, device)
    seconds += start_seconds
    workers = max(1, slots.max_concurrent)
    spent = _wall_seconds(plan, seconds, num_shared, devices)
    in_all = sum(spent.values())
    point = "epoch" if recipe.reports is None else "report"
    timed = f"one timed {point}" if num_timed == 1 else f"two timed {point}s"
    threads = f"{recipe.num_threads} thread{'s' * (recipe.num_threads != 1)}"
    if start_seconds:
        console.print(
            f"\na fresh process for each training: {start_seconds:.1f} s with your imports "
            "(isolate=false: none of it, but what your modules keep is shared)"
        )
    console.print(
        f"\nestimated time: {describe_seconds(in_all / workers)} with {workers} at once "
        f"on this machine, {threads} each ({describe_seconds(seconds)} a training, from {timed})"
    )
    parts = [f"{role} {_part(plan, role, spent[role], devices)}" for role in spent if spent[role]]
    console.print(f"estimated cost: {devices.text(in_all)} ({', '.join(parts)})")


def _wall_seconds(
    plan: Plan, seconds: float, saved_samples: int, devices: Devices
) -> dict[Role, float]:
    """Of all trainings of each part of the run, at `seconds` a full one, within their hours."""
    samples, trained = plan.samples_by_role(), plan.num_samples - saved_samples
    seconds *= trained / max(1, plan.num_samples)
    spent = {role: seconds * num / plan.samples_per_trial for role, num in samples.items()}
    limits = {role: plan.hours(role) for role in samples}
    return {
        role: spent[role] if hours is None else min(spent[role], 3600 * hours / devices.count)
        for role, hours in limits.items()
    }


def _part(plan: Plan, role: Role, seconds: float, devices: Devices) -> str:
    """ "0.05", or "0.02 = search.hours" where the hours end it."""
    hours = plan.hours(role)
    is_bounded = hours is not None and devices.hours(seconds) >= hours
    return hours_text(devices.hours(seconds)) + (f" = {role}.hours" if is_bounded else "")


def _print_sharing(forecast: Forecast, unit: str, console: Console) -> int:
    """What shared beginnings spare, exactly or about; the samples not trained again."""
    known, drawn = forecast.of_known(), forecast.of_searches()
    if known.saved or not (forecast.searched or forecast.obstacles):
        console.print(
            f"shared: {known.trainings} trainings continue from another's state, "
            f"{known.saved:,} of {known.samples:,} {unit} ({100 * known.share:.0f} %) "
            "are not trained again"
        )
    searched = 0
    if forecast.searched:
        plan, arms = forecast.plan, ", ".join(forecast.searched)
        spaces = [space for space in plan.spaces if space.name in forecast.searched]
        searched = sum(plan.ladder.samples(plan.quota(space)) for space in spaces)
        count = sum(map(len, forecast.searched.values()))
        console.print(
            f"shared: about {100 * drawn.share:.0f} % of the search of {arms} "
            f"({searched:,} {unit}) need not be trained again (as of {count} configs drawn)"
        )
    for line in forecast.lines():
        console.print(line)
    return known.saved + round(drawn.share * searched)


def _first_schedules(plan: Plan, campaign: Campaign) -> Iterator[tuple[str, Schedule]]:
    """The first config of every arm, as the search would suggest it."""
    for name, arm in campaign.arms.items():
        trial = arm.chosen
        if arm.suggester is not None:
            late = functools.partial(_falls_late, plan, arm.space)
            params = arm.suggester.ask(0, late)
            assert params is not None, "the first ask always has an answer"
            trial = plan.trial(arm.space, params)
        assert trial is not None, "the baseline is chosen from the start"
        yield f"{name}: {describe_params(trial.params)}", trial.schedule


def _falls_late(plan: Plan, space: SearchSpace, params: Mapping[str, float]) -> bool:
    return not plan.trial(space, params).decays


def _time_one_training(plan: Plan, device: str) -> tuple[float, int, float]:
    """Wall time of one full training, from so many of its first epochs (or reports).

    A second one where the first is short, and on a GPU, whose libraries choose and load their
    kernels in it: what a training takes at its start is no pace then.
    The last number: seconds that a process of its own takes.
    """
    make_training = lookup("trainer", plan.recipe.trainer, TRAINERS)
    space = plan.baseline or plan.spaces[0]
    middle = {name: axis.from_unit(0.5) for name, axis in space.ranges.items()}
    try:
        training = make_training(plan.trial(space, middle), device=device)
    except (ValueError, OSError) as error:
        raise ConfigError(f"the first epoch: {error}") from None
    try:
        first = _time_one_epoch(training)
        reports = 1 if training.finished else plan.recipe.num_reports
        is_fresh = plan.recipe.trainer == "user" and plan.config.isolates
        start_seconds = training.start_seconds + PROCESS_SECONDS if is_fresh else 0.0
        is_pace = first > SHORT_SECONDS and device == "cpu"
        if is_pace or reports <= 2:
            return first * reports, 1, start_seconds
        later = _time_one_epoch(training) * (reports - 1)
        return first + later, 2, start_seconds
    except (FunctionError, ProcessError) as error:
        which = "second" if training.records else "first"
        problem = f"its {which} epoch: {error}"
        if isinstance(error, FunctionError):
            place = f" ({error.place})" if error.place else ""
            problem = f"its {which} epoch raised {error.line}{place}"
        raise ConfigError(f"trainable={plan.recipe.model}: {problem}") from None


def _time_one_epoch(training: Training) -> float:
    """Seconds, without those of a process that begins; short ones are handed over together."""
    record = training.run_epoch()
    seconds = record.seconds + record.eval_seconds
    return seconds + HANDOVER_SECONDS * min(1.0, seconds / REPORT_SECONDS)
