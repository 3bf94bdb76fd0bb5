"""On how many workloads is each schedule close to the best one?"""

from __future__ import annotations

from matplotlib.figure import Figure

from results.plots.style import add_legend, color_of, line_style, subplots
from results.statistics.profiles import Profiles
from results.statistics.wording import arm_label, metric_words
from results.tables import Table

POINTS = (0.0, 0.5, 1.0, 2.0)  # tau in points of accuracy, of the table


def performance_table(info: Profiles) -> Table:
    """Share of problems within some distances of the best arm, with 95% intervals."""
    scale, unit = info.metric.scale, info.metric.unit
    at = [max(0, int((info.tau_T <= tau / scale + 1e-12).sum()) - 1) for tau in _distances(info)]
    seeds = ", ".join(f"{name} (n={num})" for name, num in info.num_seeds.items())
    left_out = ", ".join(map(arm_label, info.left_out))
    return Table(
        caption="share of problems (workload and seed) by distance to the best arm; "
        + (f"{seeds}; not on every workload, left out: {left_out}" if left_out else seeds),
        header=[
            "arm",
            *(
                "best" if tau == 0 else f"within {tau:g} {unit}".rstrip()
                for tau in _distances(info)
            ),
        ],
        rows=[
            [
                arm_label(arm.name),
                *(f"{arm.share_T[t]:.2f} [{arm.low_T[t]:.2f}, {arm.high_T[t]:.2f}]" for t in at),
            ]
            for arm in info.arms
        ],
    )


def _distances(info: Profiles) -> tuple[float, ...]:
    """tau of the table's columns: points of an accuracy, else shares of the largest gap."""
    if info.metric.is_accuracy:
        return POINTS
    largest = float(info.tau_T[-1])
    return (0.0, *(float(f"{share * largest:.2g}") for share in (0.1, 0.25, 0.5)))


def draw_profiles(info: Profiles, figure: Figure) -> None:
    """A step line an arm with its band."""
    axes, metric, scale = subplots(figure, 4.8), info.metric, info.metric.scale
    for arm in info.arms:
        color = color_of(arm.name)
        axes.fill_between(scale * info.tau_T, arm.low_T, arm.high_T, color=color, alpha=0.12,
                          step="post", linewidth=0)  # fmt: skip
        axes.step(scale * info.tau_T, arm.share_T, line_style(arm.name), where="post", color=color,
                  linewidth=2.2)  # fmt: skip
    axes.set_ylim(-0.02, 1.02)
    where, unit = "below" if metric.goal == "max" else "above", metric.unit
    axes.set_xlabel(
        f"tau: {metric_words(metric)} {where} the best arm of the same workload and seed"
        + (f" [{unit}]" if unit else "")
    )
    axes.set_ylabel("share of problems within tau")
    num = ", ".join(f"{name} (n={seeds})" for name, seeds in info.num_seeds.items())
    axes.set_title(
        f"{len(info.num_seeds)} workloads, each counting the same: {num}\n"
        "band: 95% bootstrap over the seeds within workloads",
        fontsize=10,
    )
    add_legend(figure, [(arm.name, "") for arm in info.arms])
