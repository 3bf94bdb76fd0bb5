"""On how many workloads is each schedule close to the best one?"""

from __future__ import annotations

from matplotlib.figure import Figure

from results.plots.style import add_legend, color_of, line_style, subplots
from results.statistics.profiles import Profiles
from results.statistics.wording import arm_label
from results.tables import Table

POINTS = (0.0, 0.5, 1.0, 2.0)  # tau in points of accuracy, of the table


def performance_table(info: Profiles) -> Table:
    """Share of problems within some distances of the best arm, with 95% intervals."""
    at = [max(0, int((info.tau_T <= tau / 100 + 1e-12).sum()) - 1) for tau in POINTS]
    seeds = ", ".join(f"{name} (n={num})" for name, num in info.num_seeds.items())
    left_out = ", ".join(map(arm_label, info.left_out))
    return Table(
        caption="share of problems (workload and seed) by distance to the best arm; "
        + (f"{seeds}; not on every workload, left out: {left_out}" if left_out else seeds),
        header=["arm", *("best" if tau == 0 else f"within {tau:g} points" for tau in POINTS)],
        rows=[
            [
                arm_label(arm.name),
                *(f"{arm.share_T[t]:.2f} [{arm.low_T[t]:.2f}, {arm.high_T[t]:.2f}]" for t in at),
            ]
            for arm in info.arms
        ],
    )


def draw_profiles(info: Profiles, figure: Figure) -> None:
    """A step line an arm with its band."""
    axes = subplots(figure, 4.8)
    for arm in info.arms:
        color = color_of(arm.name)
        axes.fill_between(100 * info.tau_T, arm.low_T, arm.high_T, color=color, alpha=0.12,
                          step="post", linewidth=0)  # fmt: skip
        axes.step(100 * info.tau_T, arm.share_T, line_style(arm.name), where="post", color=color,
                  linewidth=2.2)  # fmt: skip
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("tau: test accuracy below the best arm of the same workload and seed [points]")
    axes.set_ylabel("share of problems within tau")
    num = ", ".join(f"{name} (n={seeds})" for name, seeds in info.num_seeds.items())
    axes.set_title(
        f"{len(info.num_seeds)} workloads, each counting the same: {num}\n"
        "band: 95% bootstrap over the seeds within workloads",
        fontsize=10,
    )
    add_legend(figure, [(arm.name, "") for arm in info.arms])
