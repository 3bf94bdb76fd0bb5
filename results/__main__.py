"""python -m results compare | show | verify | export: what the runs say, on the terminal."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import results
from results.load import Run
from results.records import Row, trial_from_row
from search_spaces.registry import is_import_path
from search_spaces.space import BASELINE
from search_spaces.trial import TrialConfig

if TYPE_CHECKING:  # scipy is imported late: --help stays fast
    from results.compare import Comparison

MAX_STAGES_SHOWN = 12
BAD_INPUT = 2


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave with code 2."""
        self.exit(BAD_INPUT, f"error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 ok, 1 damage under --strict, 2 bad input)."""
    args = make_parser().parse_args(arguments)
    commands = {
        "compare": compare_command,
        "show": show_command,
        "verify": verify_command,
        "export": export_command,
    }
    try:
        return commands[args.command](args)
    except BrokenPipeError:  # e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        print(f"error: {error}".replace("\n", " "), file=sys.stderr)
        return BAD_INPUT


def make_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="python -m results", description="What happened in runs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    compare = commands.add_parser("compare", help="the arms side by side, verdict, figures")
    compare.add_argument("paths", nargs="+", metavar="PATH", help="run folders or globs")
    compare.add_argument("--metric", default="test_accuracy", help="default: %(default)s")
    compare.add_argument("--reference", metavar="ARM", help="all arms against this one")
    compare.add_argument("--no-plots", action="store_true", help="write no figures")

    show = commands.add_parser("show", help="one screen on a run")
    show.add_argument("path", metavar="PATH")

    verify = commands.add_parser("verify", help="list damaged or missing records")
    verify.add_argument("paths", nargs="+", metavar="PATH")
    verify.add_argument("--strict", action="store_true", help="exit 1 when there are any")

    export = commands.add_parser("export", help="a schedule for your own training code")
    export.add_argument("path", metavar="PATH")
    export.add_argument("--schedule", required=True, help="best, or a trial_key or its beginning")
    export.add_argument("--space", help="with best: of this arm")
    export.add_argument("--out", help="folder to write to (default: export/ in the run folder)")
    export.add_argument("--family", help="repeat a stored package.module:curve to import it")
    return parser


def compare_command(args: argparse.Namespace) -> int:
    """Print the arms, the verdict and what to know about it; draw the figures."""
    run = results.load(args.paths)
    comparison = run.compare(args.metric)
    if args.reference:
        print_versus(run, args.reference)
        for warning in comparison.warnings:
            print(f"warning: {warning}")
        return 0
    print_scores(comparison)
    print()
    print_costs(comparison)
    print(f"\n{comparison.verdict}")
    for warning in comparison.warnings:
        print(f"warning: {warning}")
    print_notes(run)
    if not args.no_plots:
        save_figures(run)
    return 0


def print_scores(comparison: Comparison) -> None:
    """What each arm scored, and against the default."""
    from results.compare import arm_label, interval_text, points

    lines = []
    for arm in comparison.arms:
        vs = arm.difference
        sd = f" +- {100 * arm.sd:.2f}" if arm.n > 1 else ""
        score = f"{100 * arm.mean:.2f}{sd}" if arm.n else "-"
        gain = f"{points(vs.mean)[0]} {interval_text(vs)}" if vs and vs.n else "-"
        lines.append([arm_label(arm.name), str(arm.n), score, gain])
    header = ["arm", "n", f"{comparison.metric} %", "minus default, 95% t-interval"]
    if all(line[-1] == "-" for line in lines):  # no default: --reference ARM tells differences
        lines, header = [line[:-1] for line in lines], header[:-1]
    print_table(header, lines)


def print_versus(run: Run, reference: str) -> None:
    """Accuracy and training loss of every arm against one of them."""
    from results.compare import arm_label, interval_text, points
    from results.versus import versus

    lines = []
    for entry in versus(run, reference):
        own = entry.arm == reference
        difference = entry.difference
        ratio = "-" if own or entry.loss_ratio != entry.loss_ratio else f"{entry.loss_ratio:.2f}"
        if entry.low is not None and not own:
            ratio += f" [{entry.low:.2f}, {entry.high:.2f}]"
        lines.append(
            [
                arm_label(entry.arm),
                str(difference.n),
                f"{100 * entry.accuracy:.2f}",
                "-" if own else f"{points(difference.mean)[0]} {interval_text(difference)}",
                "-" if entry.loss != entry.loss else f"{entry.loss:.4f}",
                ratio,
            ]
        )
    minus = f"minus {arm_label(reference)}, 95% t-interval"
    print_table(["arm", "n", "test accuracy %", minus, "training loss", "over its"], lines)
    print_notes(run)


def print_costs(comparison: Comparison) -> None:
    """What each arm took, and its best parameters."""
    from results.compare import arm_label
    from results.export import format_params

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


def show_command(args: argparse.Namespace) -> int:
    """Print one screen: status, arms, best schedule."""
    from results.arms import group_by_arm
    from results.compare import arm_label

    run = results.load(args.path)
    for run_id, manifest in run.manifests.items():
        print(f"run {run_id}: {manifest.get('status', 'unknown')}")
    print_notes(run)
    lines = []
    rows = run.trials.to_pylist()
    for name, own in group_by_arm(rows).items():
        status = Counter(row["status"] for row in own)
        best = max((row["objective"] for row in own if row["objective"] is not None), default=None)
        lines.append(
            [
                arm_label(name),
                ", ".join(f"{count} {kind}" for kind, count in status.items()),
                f"{sum(row['samples_seen'] or 0 for row in own):,}",
                "-" if best is None else f"{100 * best:.2f}",
            ]
        )
    print()
    print_table(["arm", "trials", "samples", "best validation %"], lines)
    if any(row["objective"] is not None for row in rows if row["space"] != BASELINE):
        print_schedule(run.best())
    return 0


def verify_command(args: argparse.Namespace) -> int:
    """Print every problem of the records."""
    problems = results.verify(args.paths)
    for problem in problems:
        print(problem)
    print("no problems found" if not problems else f"{len(problems)} problem(s) found")
    return 1 if problems and args.strict else 0


def export_command(args: argparse.Namespace) -> int:
    """Write a schedule as csv, json and a torch snippet."""
    from results.export import export_schedule

    run = results.load(args.path)
    if args.schedule == "best":
        trial = run.best(args.space)
    else:
        trial = find_trial(run.trials.to_pylist(), args.schedule)
    if is_import_path(trial.family) and args.family != trial.family:
        raise ValueError(
            f"this schedule runs the code of {trial.family!r}; to allow it, add "
            f"--family {trial.family}."
        )
    for path in export_schedule(trial, args.out or run.dirs[0] / "export"):
        print(path)
    return 0


def find_trial(rows: list[Row], prefix: str) -> TrialConfig:
    """The trial whose key begins with `prefix`.

    Raises:
        ValueError: none, or several trials.
    """
    found = {row["trial_key"]: row for row in rows if row["trial_key"].startswith(prefix)}
    if len(found) != 1:
        raise ValueError(f"{len(found)} trials have a key that begins with {prefix!r}.")
    return trial_from_row(next(iter(found.values())))


def print_notes(run: Run) -> None:
    """What was skipped or unfinished."""
    for note in run.notes:
        print(f"note: {note}")


def print_schedule(trial: TrialConfig) -> None:
    """The best config and its stages, the middle left out when there are many."""
    from results.export import format_params, stage_table

    print(f"\nbest: {trial.space} ({format_params(trial.params)}), config {trial.config_key}")
    if is_import_path(trial.family):
        return
    columns = ("start_epoch", "lr", "batch_size", "momentum", "delta", "decay_rate")
    lines = [
        [*(f"{row[name]:.6g}" for name in columns), _marks(row)] for row in stage_table(trial)
    ]
    if len(lines) > MAX_STAGES_SHOWN:
        half = MAX_STAGES_SHOWN // 2
        lines = [*lines[:half], ["..."] * 6 + [""], *lines[-half:]]
    print_table(["from epoch", "lr", "batch", "momentum", "delta", "decay rate", ""], lines)


def _marks(stage: dict[str, Any]) -> str:
    return " ".join(name for name in ("capped", "floored") if stage[name])


def save_figures(run: Run) -> None:
    """Draw the figures into the first run's folder and say where."""
    from results.plots import save_plots

    directory = run.dirs[0] / "plots"
    written = save_plots(run, directory)
    names = ", ".join(path.name for path in written) or "nothing to draw yet"
    print(f"\nfigures in {directory}: {names}")


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


if __name__ == "__main__":
    sys.exit(main())
