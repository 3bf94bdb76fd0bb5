"""What does one paste into a pull request or a paper about logs? Arms, n, result, the command."""

from __future__ import annotations

from results.arms.paragraph import (
    MAX_NAMED,
    Paragraph,
    by_arm,
    for_others,
    intervals_sentence,
    result_sentence,
)
from results.logs.judgment import Judgment, steps_text
from results.statistics.wording import better_words, counted, screen_text, value_text


def paragraph_of(judgment: Judgment) -> Paragraph:
    """The paragraph of this judgment: only what the logs and the words asked for say."""
    parts = [
        _compared(judgment),
        _means(judgment),
        result_sentence(judgment.comparison, ""),
        intervals_sentence(judgment.comparison),
        _steps(judgment),
        *(f"Note: {warning}" for warning in judgment.warnings),
        "Judged by GradTune on logs of trainings that it has not run; reproduced by:",
    ]
    return Paragraph(
        sentences=tuple(for_others(part) for part in parts if part), commands=(judgment.command,)
    )


def _compared(judgment: Judgment) -> str:
    name, metric = judgment.value, judgment.metric
    arms = [*judgment.scores]
    more = f" and {len(arms) - MAX_NAMED} more" if len(arms) > MAX_NAMED else ""
    return (
        f"Trainings compared by {name} ({better_words(metric)}) {judgment.at}, as logged in "
        f"{judgment.source.name}: {', '.join(arms[:MAX_NAMED])}{more}."
    )


def _means(judgment: Judgment) -> str:
    """Best first, as in the table of arms."""
    metric = judgment.metric
    arms = sorted(judgment.comparison.arms, key=lambda arm: -metric.score(arm.mean))
    unit = " %" if metric.is_accuracy else ""
    values = "; ".join(
        f"{arm.name} {value_text(arm.mean, metric, arm.sd)} +- "
        f"{value_text(arm.sd, metric, arm.sd)}{unit}"
        if arm.sd > 0
        else f"{arm.name} {screen_text(arm.mean, metric)}"
        for arm in arms[:MAX_NAMED]
    )
    rest = f"; {len(arms) - MAX_NAMED} more" if len(arms) > MAX_NAMED else ""
    seeds = by_arm({arm.name: arm.n for arm in arms}, lambda n: counted(n, "seed"))
    return f"Mean +- standard deviation over the seeds ({seeds}): {values}{rest}."


def _steps(judgment: Judgment) -> str:
    """When each arm's mean reaches the target, the first one first."""
    steps = {name: at.step for name, at in judgment.arrivals.items() if at.step is not None}
    told = []
    for name in sorted(steps, key=lambda name: (steps[name], name)):
        at = judgment.arrivals[name]
        told.append(f"{name} {steps_text(steps[name], at.low, at.high)}")
    told += [f"{name} never" for name in judgment.arrivals if name not in steps]
    if not told:
        return ""
    more = [f"{len(told) - MAX_NAMED} more"] if len(told) > MAX_NAMED else []
    return (
        f"Steps until the mean over the seeds reaches {judgment.target:g}, with 95% interval: "
        f"{'; '.join([*told[:MAX_NAMED], *more])}."
    )
