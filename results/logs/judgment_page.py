"""A judgment as one page: the verdict, its evidence, the curves, and what was read."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from results.logs.judged_paragraph import paragraph_of
from results.logs.judgment import Judgment
from results.plots.arms.curves import mean_band
from results.plots.arms.differences import DIFFERENCES, compared_info
from results.plots.figure import SECTIONS, Plot
from results.plots.style import arm_looks, subplots
from results.records.segments import write_text
from results.report.page import EVIDENCE, Exhibit, Section, exhibit_of, render_page, sentence_of
from results.report.provenance import Provenance
from results.statistics.paired import BY_PAIR, how_taken
from results.statistics.wording import axis_title, counted, counts, metric_words, number
from results.tables import Table, thinned
from search_spaces.metric import Metric

BAND_ALPHA = 0.2
MAX_POINTS = 500  # of a line
LATE_SHARE = 0.5  # of the steps; the curves are shown from there


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedCurve:
    """One arm's curve: step_S, value_RS[seed, step]."""

    name: str
    step_S: NDArray[np.float64]
    value_RS: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedCurves:
    """The curves of all arms, and the target, where there is one."""

    metric: Metric
    target: float | None
    arms: tuple[LoggedCurve, ...]


def write_judgment(judgment: Judgment, path: str | Path) -> Path:
    """Write the page: self-contained, no scripts, nothing from elsewhere."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render_judgment(judgment))
    return path


def render_judgment(judgment: Judgment) -> str:
    """The page of this judgment, made of the parts of a run's report."""
    comparison = judgment.comparison
    verdict = sentence_of(judgment.verdict)
    claims = [sentence_of(claim.sentence) for claim in comparison.claims]
    num_trainings = sum(len(seeds) for seeds in judgment.scores.values())
    return render_page(
        title=judgment.source.name,
        trained=f"{metric_words(judgment.metric)} {judgment.at}",
        paragraph=paragraph_of(judgment).text(),
        notes=[sentence_of(note) for note in (judgment.pairing, *judgment.notes)],
        verdict=verdict,
        claims=[claim for claim in claims if claim != verdict],
        warnings=[sentence_of(warning) for warning in judgment.warnings],
        tables=list(judgment.tables().values()),
        evidence=EVIDENCE,
        sections=_sections(judgment),
        failures=None,
        differences=None,
        provenance=[Provenance(run_id=judgment.source.name, facts=_facts(judgment), config="")],
        num_trials=num_trainings,
        num_arms=len(judgment.scores),
        run_path="",
    )


def draw_logged(info: LoggedCurves, figure: Figure) -> None:
    """A line an arm with a band, by step; of the second half of the steps, where arms part."""
    axes = subplots(figure, 4.8)
    scale = info.metric.scale
    looks = arm_looks([arm.name for arm in info.arms])
    first = min(float(arm.step_S[0]) for arm in info.arms)
    length = max(float(arm.step_S[-1]) for arm in info.arms) - first
    marker = "" if length else "o"
    late: list[float] = []
    for arm in info.arms:
        passed_S = arm.step_S - first
        is_late_S = passed_S >= LATE_SHARE * passed_S[-1]
        late += (scale * arm.value_RS[:, is_late_S]).ravel().tolist()
        place_S = _some(np.flatnonzero(passed_S >= LATE_SHARE * LATE_SHARE * length))
        step_S, bands = arm.step_S[place_S], mean_band(scale * arm.value_RS[:, place_S])
        color = looks[arm.name].color
        axes.plot(step_S, bands[0], color=color, linewidth=2.0, marker=marker, label=arm.name)
        axes.fill_between(step_S, *bands[1:], color=color, alpha=BAND_ALPHA, linewidth=0)
    if info.target is not None:
        axes.axhline(scale * info.target, color="#404040", linewidth=1.0, linestyle=":")
        late.append(scale * info.target)
    room = 0.05 * (max(late) - min(late)) or 1.0
    axes.set_ylim(min(late) - room, max(late) + room)
    shown = (LATE_SHARE * length, 1.01 * length) if length else (-1.0, 1.0)
    axes.set_xlim(first + shown[0], first + shown[1])
    axes.set_xlabel("step")
    axes.set_ylabel(axis_title(metric_words(info.metric), info.metric))
    axes.legend(frameon=False)
    axes.set_title("Line: mean over the seeds; band: 95% t-interval of the mean", fontsize=11)


def logged_caption(info: LoggedCurves) -> str:
    """What lines, bands and the dotted line are, and of how many seeds."""
    seeds = counts([(arm.name, len(arm.value_RS)) for arm in info.arms], "seeds")
    dotted = "" if info.target is None else f"; dotted: the target, {info.target:g}"
    return (
        f"{metric_words(info.metric).capitalize()} by step, {seeds}. Line: mean; band: 95% "
        f"t-interval of the mean{dotted}. Shown is the second half of the steps."
    )


def logged_table(info: LoggedCurves) -> Table:
    """Mean and interval by arm and step."""
    rows, scale = [], info.metric.scale
    for arm in info.arms:
        bands = mean_band(scale * arm.value_RS)
        for place in thinned(len(arm.step_S)):
            cells = (number(float(band[place])) for band in bands)
            rows.append([arm.name, number(float(arm.step_S[place])), *cells])
    return Table(
        caption="Means over the seeds; low, high: 95% t-interval",
        header=["arm", "step", "mean", "low", "high"],
        rows=rows,
    )


LOGGED_CURVES = Plot(
    title="Curves", section="Curves", info=lambda run: (), draw=draw_logged,
    caption=logged_caption, table=logged_table,
)  # fmt: skip


def _some(place_S: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most MAX_POINTS of these, evenly spread, first and last included."""
    picked = np.linspace(0, len(place_S) - 1, min(MAX_POINTS, len(place_S)))
    some_S: NDArray[np.int64] = place_S[picked.round().astype(np.int64)]
    return some_S


def _sections(judgment: Judgment) -> list[Section]:
    arms = tuple(
        LoggedCurve(name=name, step_S=curve.step_S, value_RS=curve.value_RS)
        for name, curve in judgment.curves.items()
        if len(curve.step_S)
    )
    curves = LoggedCurves(metric=judgment.metric, target=judgment.target, arms=arms)
    differences = compared_info(judgment.comparison)
    taken, plot = how_taken(arm.difference for arm in differences.arms), DIFFERENCES
    if taken != BY_PAIR:
        plot = replace(plot, title=f"Differences {taken}")
    return [
        _section(EVIDENCE, exhibit_of("differences", plot, differences)),
        _section("Curves", exhibit_of("curves", LOGGED_CURVES, curves)),
    ]


def _section(heading: str, exhibit: Exhibit | None) -> Section:
    lead = "How the arms trained." if heading == "Curves" else SECTIONS[heading]
    return Section(heading=heading, lead=lead, exhibits=[exhibit] if exhibit else [])


def _facts(judgment: Judgment) -> dict[str, str]:
    """What was read, from where, and what was asked."""
    facts = {
        "logs": str(judgment.source),
        "judged": f"{judgment.metric.name}, {judgment.metric.goal} is best, {judgment.at}",
        "arms": ", ".join(
            f"{name} ({counted(len(seeds), 'seed')})" for name, seeds in judgment.scores.items()
        ),
        "target": "" if judgment.target is None else f"{judgment.target:g}",
        "minimum effect": (
            "" if (effect := judgment.comparison.min_effect) is None else f"{effect:g}"
        ),
        "report made with": f"Python {platform.python_version()}",
    }
    return {name: fact for name, fact in facts.items() if fact}
