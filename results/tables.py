"""What do the tables on the terminal say? Arms, pairs of arms, costs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from search_spaces.space import BASELINE

if TYPE_CHECKING:  # scipy is imported late: --help stays fast
    from results.statistics.compare import Claim, Comparison
    from results.statistics.profiles import Profiles

PROFILE_POINTS = (0.0, 0.5, 1.0, 2.0)  # tau in points of accuracy
MAX_PAIRS_SHOWN = 15  # of more pairs only those of the default and of the leader


def print_scores(comparison: Comparison) -> None:
    """What each arm scored, and against the default."""
    from results.statistics.compare import arm_label, interval_text, points

    lines, kind = [], ""
    for arm in comparison.arms:
        vs = arm.difference
        sd = f" +- {100 * arm.sd:.2f}" if arm.n > 1 else ""
        score = f"{100 * arm.mean:.2f}{sd}" if arm.n else "-"
        gain = f"{points(vs.mean)[0]} {interval_text(vs)}" if vs and vs.n else "-"
        kind = vs.interval_kind if vs else kind
        lines.append([arm_label(arm.name), str(arm.n), score, gain])
    header = ["arm", "n", f"{comparison.metric} %", f"minus default, {kind}"]
    if all(line[-1] == "-" for line in lines):  # no default: --reference ARM tells differences
        lines, header = [line[:-1] for line in lines], header[:-1]
    print_table(header, lines)


def print_pairs(comparison: Comparison) -> None:
    """Every pair of arms: interval, p values, outcome; then what stands beside the interval."""
    from results.statistics.beside import stand_beside

    claims = [claim for claim in _shown(comparison) if claim.difference.n]
    if not claims:
        return
    kind = claims[0].difference.interval_kind
    header = ["pair", "n", f"points, {kind}", "p", "adjusted p", "outcome"]
    print()
    print_table(header, [_pair_line(claim, comparison.min_effect) for claim in claims])
    beside = stand_beside(claim.difference for claim in claims)
    if beside:
        print()
        print_table(
            ["pair", *beside],
            [list(line) for line in zip(map(_pair_name, claims), *beside.values(), strict=True)],
        )
    left_out = sum(1 for claim in comparison.claims if claim.difference.n) - len(claims)
    if left_out:
        print(f"({left_out} more pairs are not shown: results.load(...).compare().claims)")


def print_costs(comparison: Comparison) -> None:
    """What each arm took, and its best parameters."""
    from results.exports.snippet import format_params
    from results.statistics.compare import arm_label

    lines = []
    for name, arm in comparison.details.items():
        costs = [arm.search.samples_seen, arm.confirm.samples_seen, arm.confirm.optimizer_steps]
        shown = [f"{cost:,}" for cost in (*costs, round(arm.confirm.train_seconds))]
        lines.append([arm_label(name), *shown])
    print_table(["arm", "search samples", "confirm: samples", "steps", "seconds"], lines)
    print()
    for name, arm in comparison.details.items():
        if arm.params:
            print(f"{arm_label(name)}: {format_params(arm.params)}")


def print_versus(comparison: Comparison) -> None:
    """Scores and training losses of every arm against the reference."""
    from results.statistics.compare import arm_label

    lines, kind = [], ""
    for arm in comparison.arms:
        if not arm.n:
            continue
        own, vs = arm.name == comparison.reference, arm.difference
        ratio = "-" if own or arm.loss_ratio != arm.loss_ratio else f"{arm.loss_ratio:.2f}"
        if arm.loss_low is not None and not own:
            ratio += f" [{arm.loss_low:.2f}, {arm.loss_high:.2f}]"
        kind = vs.interval_kind if vs else kind
        lines.append(
            [
                arm_label(arm.name),
                str(vs.n if vs else arm.n),
                f"{100 * arm.mean:.2f}",
                str(vs) if vs else "-",
                "-" if arm.loss != arm.loss else f"{arm.loss:.4f}",
                ratio,
            ]
        )
    minus = f"minus {arm_label(comparison.reference)}, {kind}"
    metric = comparison.metric.replace("_", " ")
    print_table(["arm", "n", f"{metric} %", minus, "training loss", "over its"], lines)


def print_profiles(found: Profiles) -> None:
    """Share of problems within some distances of the best arm, with 95% intervals."""
    from results.statistics.compare import arm_label

    lines = []
    for arm in found.arms:
        line = [arm_label(arm.name)]
        for tau in PROFILE_POINTS:
            t = max(0, int((found.tau_T <= tau / 100 + 1e-12).sum()) - 1)
            low, high = arm.low_T[t], arm.high_T[t]
            line.append(f"{arm.share_T[t]:.2f} [{low:.2f}, {high:.2f}]")
        lines.append(line)
    header = ["best" if tau == 0 else f"within {tau:g} points" for tau in PROFILE_POINTS]
    print_table(["arm", *header], lines)
    told = ", ".join(f"{name} (n={seeds})" for name, seeds in found.num_seeds.items())
    print(f"\nshare of problems (workload and seed) by distance to the best arm; {told}")
    if found.left_out:
        print(f"not on every workload, left out: {', '.join(map(arm_label, found.left_out))}")


def print_table(header: list[str], lines: list[list[str]]) -> None:
    """A table: rich on a terminal, aligned plain text elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*header)
        for line in lines:
            table.add_row(*(Text(cell) for cell in line))
        Console().print(table)
        return
    widths = [max(len(row[i]) for row in [header, *lines]) for i in range(len(header))]
    for row in [header, *lines]:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


def _shown(comparison: Comparison) -> list[Claim]:
    """All claims, or those of the default and of the best other arm where there are many."""
    claims = list(comparison.claims)
    if len(claims) <= MAX_PAIRS_SHOWN:
        return claims
    searched = [arm for arm in comparison.arms if arm.n and arm.name != comparison.reference]
    leader = max(searched, key=lambda arm: arm.mean).name if searched else ""
    return [c for c in claims if {c.a, c.b} & {leader, comparison.reference}]


def _pair_line(claim: Claim, min_effect: float) -> list[str]:
    from results.statistics.compare import points
    from results.statistics.wording import p_text

    d = claim.difference
    text = f"{d.texts[0]} (no interval)" if d.low is None else str(d)
    return [
        _pair_name(claim),
        str(d.n),
        text,
        p_text(d.p_value),
        p_text(claim.p_holm),
        _outcome_text(claim, points(min_effect)[0]),
    ]


def _outcome_text(claim: Claim, effect: str) -> str:
    if claim.outcome == "equivalent":
        return f"equal within {effect}"
    if claim.winner is not None:
        by = f" by over {effect}" if claim.outcome == "better by min_effect" else ""
        return f"{_short(claim.winner)} is better{by}"
    needed = "" if claim.seeds_needed is None else f", ~{claim.seeds_needed:,} more seeds"
    return f"undecided{needed}"


def _pair_name(claim: Claim) -> str:
    return f"{_short(claim.a)} - {_short(claim.b)}"


def _short(name: str) -> str:
    return "default" if name == BASELINE else name
