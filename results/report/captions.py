"""Which figures does the report show, what do their captions say, and which numbers are behind?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.figure import Figure

from results.measurements.importances import MAX_TRIALS
from results.plots import PLOTS
from results.plots.arms.curves import PANELS, CurvesInfo, mean_band
from results.plots.arms.differences import DifferencesInfo
from results.plots.arms.schedules import SchedulesInfo
from results.plots.arms.time_use import TimeUseInfo
from results.plots.search.importances import ImportancesInfo
from results.plots.search.progress import ProgressInfo
from results.plots.search.slices import SlicesInfo
from results.report.cells import plain_table
from results.report.svg import inline_svg
from results.run import Run
from results.statistics.wording import (
    arm_label,
    counts,
    duration,
    number,
    p_text,
    percent,
    points,
)
from results.tables import Table, thinned


@dataclass(frozen=True, kw_only=True, slots=True)
class Exhibit:
    """A figure of the report with its caption and the numbers behind it."""

    name: str
    title: str
    caption: str
    svg: Markup
    table: Table | None


class Texts(NamedTuple):
    """Title, caption and table of a figure, from its info."""

    title: str
    caption: Callable[[Any], str]
    table: Callable[[Any], Table | None]


def make_exhibit(run: Run, name: str) -> Exhibit | None:
    """The figure of this name in PLOTS; None where the run has nothing to show in it."""
    plot = PLOTS[name]
    info = plot.info(run)
    if not info.arms:
        return None
    figure = Figure()
    plot.draw(info, figure)
    told = figure.get_suptitle().replace("\n", ". ")
    figure.suptitle("")  # the caption says it
    if not told and len(figure.axes) == 1:
        told = figure.axes[0].get_title()
        figure.axes[0].set_title("")
    texts = TEXTS.get(name, _generic(name, told))
    caption = texts.caption(info)
    svg = inline_svg(figure, name, f"{texts.title}. {caption}")
    return Exhibit(name=name, title=texts.title, caption=caption, svg=svg, table=texts.table(info))


def _generic(name: str, told: str) -> Texts:
    """For figures of measurements: their own title, and every plain number of their info."""
    title = name.replace("_", " ").capitalize()
    return Texts(
        title,
        lambda info: f"{told or title}; n={len(info.arms)} arms.",
        lambda info: plain_table(info, f"{title}: numbers by arm"),
    )


def _curves_caption(info: CurvesInfo) -> str:
    seeds = counts([(arm.name, arm.num_seeds) for arm in info.arms], "seeds")
    few = any(arm.num_seeds > 1 for arm in info.arms)
    shared = " Seeds are paired: what separates arms is the plot of differences." if few else ""
    return f"{info.title}, {seeds}.{shared}"


def _costs_caption(info: CurvesInfo) -> str:
    return (
        f"{_curves_caption(info)} All arms see equally many samples; where batches grow they take "
        "fewer optimizer steps."
    )


def _curves_table(info: CurvesInfo) -> Table:
    rows = []
    for arm in info.arms:
        bands = {m: mean_band(arm.metrics[m]) for m in PANELS}
        for epoch in thinned(arm.metrics["val_accuracy"].shape[1]):
            cells = [arm_label(arm.name), str(epoch + 1)]
            cells += [number(arm.costs[cost][epoch]) for cost in ("samples", "steps")]
            for metric, (mean, low, high) in bands.items():
                form = percent if "accuracy" in metric else number
                cells.append(form(float(mean[epoch])))
                if metric == "val_accuracy":
                    cells += [form(float(low[epoch])), form(float(high[epoch]))]
            rows.append(cells)
    header = ["arm", "epoch", "samples", "steps", "val. accuracy %", "low", "high"]
    header += ["train. accuracy %", "val. loss", "train. loss"]
    return Table(
        caption=f"Means over the seeds; low, high: 95% t-interval. {_curves_n(info)}",
        header=header,
        rows=rows,
    )


def _curves_n(info: CurvesInfo) -> str:
    return counts([(arm.name, arm.num_seeds) for arm in info.arms], "seeds") + "."


def _differences_caption(info: DifferencesInfo) -> str:
    kinds = {arm.difference.interval_kind for arm in info.arms}
    seeds = counts([(arm.name, arm.difference.n) for arm in info.arms], "paired seeds")
    return (
        f"Test accuracy of each arm minus {arm_label(info.reference)} on the same seed, {seeds}. "
        f"Diamond: mean; bar: {' or '.join(sorted(kinds))} of the mean; dots: seeds; grey: below "
        f"the minimum effect of {points(info.min_effect)[0]} points."
    )


def _differences_table(info: DifferencesInfo) -> Table:
    rows = [
        [
            arm_label(arm.name),
            str(arm.difference.n),
            *arm.difference.texts,
            p_text(arm.difference.p_value),
            ", ".join(f"{100 * value:.2f}" for value in arm.seed_R),
        ]
        for arm in info.arms
    ]
    return Table(
        caption=f"Points of test accuracy minus {arm_label(info.reference)}, by paired seed",
        header=["arm", "n", "mean", "interval", "p", "by seed"],
        rows=rows,
    )


def _schedules_caption(info: SchedulesInfo) -> str:
    return (
        "Learning rate, batch size and noise level delta that each arm's chosen config really "
        f"used at the last step of each epoch, n=1 training an arm ({len(info.arms)} arms; every "
        "seed uses the same schedule)."
    )


def _schedules_table(info: SchedulesInfo) -> Table:
    rows = []
    for arm in info.arms:
        for epoch in thinned(len(arm.used["lr"])):
            cells = [number(float(value[epoch])) for value in arm.used.values()]
            rows.append([arm_label(arm.name), str(epoch + 1), *cells])
    names = [name.replace("_", " ") for name in info.arms[0].used]
    return Table(
        caption="Used at the last step of the epoch", header=["arm", "epoch", *names], rows=rows
    )


def _search_n(info: SlicesInfo) -> str:
    return counts([(arm.name, len(arm.objective_T)) for arm in info.arms], "configs")


def _map_caption(info: Any) -> str:
    return (
        "Every dot is a search config trained over all samples with one seed; its colour is the "
        "validation accuracy, the ring marks the arm's best, a cross diverged; grey dots are "
        "configs with shorter trainings only. "
        f"{_search_n(info)}; single values, no interval."
    )


def _map_table(info: Any) -> Table:
    rows = []
    for arm in info.arms:
        order_T = sorted(range(len(arm.objective_T)), key=lambda t: -arm.objective_T[t])
        rows += [
            [
                arm_label(arm.name),
                f"{arm.x_name} = {arm.x_T[t]:.4g}",
                f"{arm.y_name} = {arm.y_T[t]:.4g}",
                percent(float(arm.objective_T[t])),
                "yes" if arm.is_diverged_T[t] else "",
            ]
            for t in order_T[: len(thinned(len(order_T)))]
        ]
    header = ["arm", "across", "up", "validation accuracy %", "diverged"]
    return Table(caption="Search configs of full length, best first", header=header, rows=rows)


def _slices_caption(info: SlicesInfo) -> str:
    return (
        "The same configs against each free parameter alone; ring: the chosen config, triangle: "
        f"below the axis. {_search_n(info)}, one seed each; single values, no interval."
    )


def _slices_table(info: SlicesInfo) -> Table:
    names = sorted({name for arm in info.arms for name in arm.params})
    rows = []
    for arm in info.arms:
        order_T = sorted(range(len(arm.objective_T)), key=lambda t: -arm.objective_T[t])
        for t in order_T[: len(thinned(len(order_T)))]:
            params = [number(float(arm.params[n][t])) if n in arm.params else "-" for n in names]
            rows.append([arm_label(arm.name), *params, percent(float(arm.objective_T[t]))])
    return Table(
        caption="Search configs of full length, best first",
        header=["arm", *names, "validation accuracy %"],
        rows=rows,
    )


def _progress_caption(info: ProgressInfo) -> str:
    trials = counts([(arm.name, len(arm.objective_T)) for arm in info.arms], "full trainings")
    shorter = sum(arm.num_trials - len(arm.objective_T) for arm in info.arms)
    more = f" Samples of {shorter} shorter trainings are counted too." if shorter else ""
    return (
        f"Best validation accuracy so far by the samples each arm's search has spent, {trials}, "
        f"one seed each; single values, no interval.{more}"
    )


def _progress_table(info: ProgressInfo) -> Table:
    rows = [
        [
            arm_label(arm.name),
            number(float(arm.samples_T[t])),
            percent(float(arm.objective_T[t])),
            percent(float(arm.best_T[t])),
        ]
        for arm in info.arms
        for t in thinned(len(arm.best_T))
    ]
    header = ["arm", "samples", "validation accuracy %", "best so far %"]
    return Table(caption="Full trainings in the order of their ends", header=header, rows=rows)


def _importances_caption(info: ImportancesInfo) -> str:
    trials = counts([(arm.space, arm.num_trials) for arm in info.arms], "configs")
    told = "".join(f" Not shown: {sentence}" for sentence in info.refused)
    if any(arm.num_trials == MAX_TRIALS for arm in info.arms):
        told = f" At most {MAX_TRIALS} configs an arm, drawn at random.{told}"
    return (
        "Share of the variance of validation accuracy over the searched ranges that a parameter "
        f"explains (fANOVA on a random forest, main effects), {trials}, one seed each. Line: "
        "smallest to largest when an eighth of the configs is left out; no confidence interval."
        f"{told}"
    )


def _importances_table(info: ImportancesInfo) -> Table:
    rows = [
        [
            arm_label(arm.space),
            name,
            *(percent(x, 1) for x in (share, arm.low[name], arm.high[name])),
        ]
        for arm in info.arms
        for name, share in arm.share.items()
    ]
    header = ["arm", "parameter", "share %", "smallest", "largest"]
    return Table(caption="Importances by arm", header=header, rows=rows)


def _time_caption(info: TimeUseInfo) -> str:
    trials = counts([(arm.name, arm.num_trials) for arm in info.arms], "trials")
    idle = info.idle_seconds
    told = f" Slots without a trial: {duration(idle)} besides." if idle == idle else ""
    return (
        f"Wall time of all ended trials added up, {trials}; of trials taken up again (resumed, or "
        f"promoted) since their last start, and the epochs before it.{told}"
    )


def _time_table(info: TimeUseInfo) -> Table:
    rows = [
        [
            arm_label(arm.name),
            str(arm.num_trials),
            *(duration(s) for s in (arm.train_seconds, arm.eval_seconds, arm.other_seconds)),
            duration(arm.wall_seconds / arm.num_trials),
        ]
        for arm in info.arms
    ]
    header = ["arm", "trials", "training", "validation", "rest", "mean per trial"]
    return Table(caption="Time of the trials that have ended", header=header, rows=rows)


TEXTS: dict[str, Texts] = {
    "differences": Texts("Paired differences", _differences_caption, _differences_table),
    "curves": Texts("Accuracy and loss by epoch", _curves_caption, _curves_table),
    "curves_by_cost": Texts("By samples and optimizer steps", _costs_caption, _curves_table),
    "schedules": Texts("Schedules used", _schedules_caption, _schedules_table),
    "parameter_map": Texts("Parameter map", _map_caption, _map_table),
    "progress": Texts("Best so far", _progress_caption, _progress_table),
    "importances": Texts("Which parameter matters", _importances_caption, _importances_table),
    "slices": Texts("Parameter by parameter", _slices_caption, _slices_table),
    "time_use": Texts("Time by arm", _time_caption, _time_table),
}
