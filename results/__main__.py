"""python -m results compare | judge | show | profile | report | export | verify | exclude."""

from __future__ import annotations

import argparse
import functools
import io
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import results
from results.options import BAD_INPUT, Parser, as_options, kinds_of, names_of, number_of, truth_of
from results.records.redaction import redact, visible
from results.records.schema import trial_from_row
from results.records.segments import DamagedFile, refuse_links
from results.run import Run, describe, find_trial
from results.storage.twin import publish
from results.tables import Table
from search_spaces.registry import allow_import, is_import_path, unknown_name
from search_spaces.theory import check_radius_factor
from search_spaces.trial import TrialConfig

MAX_STAGES = 12
PROGRAM = "python -m results"
Exporter = Callable[[Run, Path], list[Path]]  # writes into a folder, returns the files
TABLE_KINDS, FIGURE_KINDS = ("csv", "latex"), ("png", "svg", "pdf")


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run one command; returns the exit code (0 ok, 1 damage under --strict, 2 bad input)."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # what its encoding lacks: as its code
        sys.stdout.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["reproduce"]:  # needs torch, which nothing here imports
        print("error: reproduce trains: python -m tuner.reproduce RUN TRIAL", file=sys.stderr)
        return BAD_INPUT
    parser, commands = make_parser(program)
    try:
        if words and words[0] in commands:
            words[1:] = as_options(words[1:], commands[words[0]])
        elif words and not words[0].startswith("-"):
            raise unknown_name("command", words[0], commands)
        args = parser.parse_args(words)
        return COMMANDS[args.command](args)
    except BrokenPipeError:  # e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, DamagedFile) as error:
        text = " ".join(visible(redact(str(error))).split("\n"))
        print(f"error: {text}", file=sys.stderr)
        return BAD_INPUT


def make_parser(program: str = PROGRAM) -> tuple[Parser, dict[str, Parser]]:
    """The command line, and the parser of each command."""
    parser = Parser(prog=program, description="What happened in runs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    compare = commands.add_parser("compare", help="the arms side by side, verdict, figures")
    compare.add_argument("paths", nargs="+", metavar="PATH", help="run folders or globs")
    _add_metric(compare)
    compare.add_argument("--reference", metavar="ARM", help="all arms against this one")
    _add_arms(compare)
    compare.add_argument("--no-plots", action="store_true", help="write no figures")
    _add_radius_factor(compare)
    told = "only the paragraph for a pull request or a paper"
    compare.add_argument("--paragraph", action="store_true", help=told)

    show = commands.add_parser("show", help="one screen on a run")
    show.add_argument("path", metavar="PATH")

    verify = commands.add_parser("verify", help="list damaged or missing records")
    verify.add_argument("paths", nargs="+", metavar="PATH")
    verify.add_argument("--strict", action="store_true", help="exit 1 when there are any")
    told = "move what is damaged to quarantine/, bring back what can be"
    verify.add_argument("--repair", metavar="true", help=told)

    profile = commands.add_parser("profile", help="arms over several workloads, figure")
    profile.add_argument("paths", nargs="+", metavar="PATH", help="runs of 2 or more workloads")
    _add_metric(profile)
    profile.add_argument("--out", metavar="FILE", help="default: plots/profiles.png in the first")

    report = commands.add_parser("report", help="one HTML file: verdict, figures, provenance")
    report.add_argument("paths", nargs="+", metavar="PATH")
    _add_arms(report)
    report.add_argument("--out", metavar="FILE", help="default: report.html in the run folder")

    export = commands.add_parser("export", help="a schedule for your code; tables, figures")
    export.add_argument("path", metavar="PATH")
    length = "the schedule at another length: its curve and its lr over so many"
    export.add_argument("--epochs", metavar="E", help=f"{length} epochs")
    export.add_argument("--steps", metavar="N", help=f"{length} optimizer steps")
    export.add_argument("--schedule", help="best, or a trial_key or its beginning")
    export.add_argument("--space", help="with --schedule best: of this arm")
    export.add_argument("--family", help="repeat a stored package.module:curve to import it")
    export.add_argument("--tables", metavar="KINDS", help="csv,latex: records, table of arms")
    export.add_argument("--figures", metavar="KINDS", help="png,svg,pdf: every figure")
    _add_radius_factor(export)
    export.add_argument("--journal", action="store_true", help="a file for optuna-dashboard")
    told = "paragraph.txt, .md, .tex: what was compared, how, and the result"
    export.add_argument("--paragraph", action="store_true", help=told)
    export.add_argument("--report", action="store_true", help="report.html")
    folder = "folder to write to (default: export/ in the run folder)"
    export.add_argument("--out", help=f"{folder}; with --journal or --report alone also a file")
    exclude = commands.add_parser("exclude", help="leave a trial out of all comparisons, and why")
    exclude.add_argument("path", metavar="RUN")
    exclude.add_argument("trial", metavar="TRIAL", help="a trial_key or its beginning")
    exclude.add_argument("--why", metavar="TEXT", help="told in every verdict and report")
    exclude.add_argument("--undo", metavar="true", help="take it back in")
    _add_judge(commands.add_parser("judge", help="a verdict on logs of your own"))
    return parser, commands.choices


def _add_judge(judge: Parser) -> None:
    judge.add_argument("path", metavar="LOGS", help=".csv, .tsv, .parquet, TensorBoard folder")
    for name, meaning in {
        "value": "column or tag that is judged; default: the only one",
        "goal": "min or max, where the name does not tell",
        "arm": "column of the arm (default: arm)",
        "seed": "column of the seed (default: seed)",
        "step": "column of the step (default: step)",
        "runs": "pattern of run names, with groups arm and seed",
        "at": "a step, or end = of each training; default: the end that an arm's share",
        "paired": "true or false: do equal seeds share weights or data",
        "looks": "true: you looked while seeds came in",
        "target": "a value to reach, for steps to it",
        "min_effect": "smallest difference that matters",
        "reference": "all arms against this one",
        "arms": "[a,b]: judge these alone",
        "out": "the report (default: LOGS_report.html in this folder)",
    }.items():
        judge.add_argument(f"--{name.replace('_', '-')}", metavar=name.upper(), help=meaning)


def _add_arms(parser: argparse.ArgumentParser) -> None:
    meaning = "[a,b]: these alone, so that a pair is one comparison"
    parser.add_argument("--arms", metavar="NAMES", help=meaning)


def _add_radius_factor(parser: argparse.ArgumentParser) -> None:
    meaning = "constant of the admissible region in the figure of decay rates, from sqrt(2) up"
    parser.add_argument("--a", metavar="A", help=f"{meaning}; no source gives it, 3 is assumed")


def asked_radius_factor(args: argparse.Namespace) -> float | None:
    """The constant a, at least sqrt(2); None where it was not given.

    Raises:
        ValueError: no such number.
    """
    factor = number_of("a", args.a)
    if factor is not None:
        check_radius_factor(factor)
    return factor


def _add_metric(parser: argparse.ArgumentParser) -> None:
    meaning = "any result or reported number; default: the objective on test data"
    parser.add_argument("--metric", metavar="NAME", help=meaning)
    goals, where = ("min", "max"), "which way is better, where the name does not tell"
    parser.add_argument("--goal", choices=goals, help=where)


def compare_command(args: argparse.Namespace) -> int:
    """Print the arms, the verdict and what to know about it; draw the figures."""
    from results.report.provenance import differences_table

    radius_factor = asked_radius_factor(args)
    run = asked_run(args, args.metric)
    differences = differences_table(run)
    comparison = run.compare(args.metric, reference=args.reference, goal=args.goal)
    if args.paragraph:
        print(run.paragraph(comparison))
        return 0
    if differences is not None:
        print(differences.caption)
        if differences.rows:
            differences.show()
        print()
    if args.reference:
        comparison.tables(losses=True)["arms"].show()
        print_each("note", run.notes)
        print_each("warning", comparison.warnings)
        return 0
    for table in comparison.tables().values():
        table.show()
        print()
    print(comparison.verdict)
    print_each("warning", comparison.warnings)
    print_each("note", run.notes)
    if not args.no_plots:
        from results.plots import save_curves, save_plots

        directory = place_in(run, "plots")
        written = save_plots(run, directory, radius_factor=radius_factor)
        written += save_curves(run, args.metric, directory) if args.metric else []
        names = ", ".join(path.name for path in written)
        print(f"\nfigures in {directory}: {names or 'nothing to draw yet'}")
    return 0


def asked_run(args: argparse.Namespace, metric: str | None = None) -> Run:
    """What of these runs can be compared, and of that the arms asked for."""
    run = results.load(args.paths)
    run = run.comparable(metric) if len(run.dirs) > 1 else run
    arms = names_of("arms", args.arms)
    return run if arms is None else run.pick(arms)


def profile_command(args: argparse.Namespace) -> int:
    """Print on which share of workloads and seeds each arm is close to the best; draw it."""
    from results.arms.recipes import workload_profiles
    from results.plots.arms.performance import draw_profiles, performance_table
    from results.plots.style import save_figure

    run = results.load(args.paths)
    profiles = workload_profiles(run.rows(), args.metric, args.goal)
    table = performance_table(profiles)
    table.show()
    print(f"\n{table.caption}")
    print_each("note", run.notes)
    path = Path(args.out) if args.out else place_in(run, "plots") / "profiles.png"
    save_figure(functools.partial(draw_profiles, profiles), path)
    print(f"\nfigure: {path}")
    return 0


def show_command(args: argparse.Namespace) -> int:
    """Print one screen: status, arms, best schedule."""
    run = results.load(args.path)
    print(*run.states(), "", sep="\n")
    run.overview().show()
    try:
        best = run.best()
    except ValueError:  # nothing has finished yet
        return 0
    print_schedule(best)
    return 0


def judge_command(args: argparse.Namespace) -> int:
    """Print what logs say about their arms, and write it as a page."""
    from results.logs import judge, paragraph_of
    from results.logs.judgment_page import write_judgment

    source = Path(args.path)
    columns = {name: getattr(args, name) for name in ("arm", "seed", "step", "runs")}
    judgment = judge(
        source,
        value=args.value,
        goal=args.goal,
        at=args.at if args.at in (None, "end") else number_of("at", args.at),
        paired=truth_of("paired", args.paired),
        looks=bool(truth_of("looks", args.looks)),
        target=number_of("target", args.target),
        min_effect=number_of("min_effect", args.min_effect),
        reference=args.reference,
        arms=names_of("arms", args.arms),
        **{name: given for name, given in columns.items() if given is not None},
    )
    for table in judgment.tables().values():
        table.show()
        print()
    print(judgment.verdict)
    print_each("note", (judgment.pairing, *judgment.notes))
    print_each("warning", judgment.warnings)
    print(f"\nfor a pull request or a paper:\n{paragraph_of(judgment)}")
    page = Path(args.out or f"{source.name.partition('.')[0] or 'logs'}_report.html")
    print(f"\nreport: {write_judgment(judgment, page)}")
    return 0


def exclude_command(args: argparse.Namespace) -> int:
    """Leave a trial out, or take it back, and print the verdict that follows."""
    from results.records.exclusions import EXCLUSIONS_NAME, exclude, include

    run = results.load(args.path)
    if len(run.dirs) > 1:
        raise ValueError(f"name one run, but {args.path!r} holds {len(run.dirs)}.")
    row = find_trial(run, args.trial)
    if truth_of("undo", args.undo):
        include(run.dirs[0], row["trial_key"])
    else:
        exclude(run.dirs[0], row["trial_key"], args.why or "")
    publish(run.dirs[0] / EXCLUSIONS_NAME)
    is_back = truth_of("undo", args.undo)
    print(f"{'taken back' if is_back else 'excluded'}: {describe(row)}, {row['trial_key']}")
    print(results.load(run.dirs[0]).compare().verdict)
    return 0


def verify_command(args: argparse.Namespace) -> int:
    """Print every problem of the records, and what is lost with them; repair=true mends first."""
    from results.verification import examine, repair, sentences

    if truth_of("repair", args.repair):
        print_each("repaired", repair(args.paths))
    audits = examine(args.paths)
    problems = [sentence for found in audits for sentence in sentences(found)]
    for problem in problems:
        print(problem)
    for line in filter(None, (found.lost for found in audits)):
        print(line)
    print("no problems found" if not problems else f"{len(problems)} problem(s) found")
    return 1 if problems and args.strict else 0


def report_command(args: argparse.Namespace) -> int:
    """Write the report and print its path."""
    from results.report import REPORT_NAME, write_report

    run = asked_run(args)
    if args.out is None and len(run.dirs) > 1:
        raise ValueError(f"say where to write the report of {len(run.dirs)} runs: --out FILE.")
    page = write_report(run, args.out or place_in(run, REPORT_NAME))
    print(page if args.out else publish(page))
    return 0


def export_command(args: argparse.Namespace) -> int:
    """Write what was asked for, and print every path."""
    exports = make_exports(args)
    run = results.load(args.path)
    out = Path(args.out) if args.out else place_in(run, "export")
    for export in exports:
        for path in export(run, out):
            print(path)
    return 0


def make_exports(args: argparse.Namespace) -> list[Exporter]:
    """What the options ask for, in order.

    Raises:
        ValueError: nothing was asked for, or an unknown kind.
    """
    from results.exports.formats import (
        JOURNAL_NAME,
        export_csv,
        export_journal,
        export_latex,
        export_paragraph,
    )
    from results.exports.snippet import export_schedule
    from results.plots import save_plots
    from results.report import REPORT_NAME, write_report

    length = read_length(args.epochs, args.steps)
    if length and args.schedule is None:
        args.schedule = "best"
    tables = kinds_of("--tables", args.tables, TABLE_KINDS)
    figures = kinds_of("--figures", args.figures, FIGURE_KINDS)
    radius_factor = asked_radius_factor(args)
    exporters: list[tuple[bool, Exporter]] = [
        (
            args.schedule is not None,
            lambda run, out: export_schedule(asked_trial(args, run), out, **length),
        ),
        ("csv" in tables, export_csv),
        ("latex" in tables, export_latex),
        (
            bool(figures),
            lambda run, out: save_plots(run, out, figures, radius_factor=radius_factor),
        ),
        (args.journal, lambda run, out: [export_journal(run, file_at(out, JOURNAL_NAME))]),
        (args.paragraph, export_paragraph),
        (args.report, lambda run, out: [write_report(run, file_at(out, REPORT_NAME))]),
    ]
    exports = [export for is_asked, export in exporters if is_asked]
    if not exports:
        raise ValueError(
            "export what? Give one or more of --schedule best, epochs=E, --tables csv,latex, "
            "--figures png,svg,pdf, --journal, --paragraph, --report."
        )
    if len(exports) > 1 and args.out and is_file_name(Path(args.out)):
        raise ValueError(f"--out must name a folder for several exports, but got {args.out!r}.")
    return exports


def read_length(epochs: str | None, steps: str | None) -> dict[str, Any]:
    """Another length of the schedule: `epochs` (a number) or `steps` (a whole number), or none.

    Raises:
        ValueError: both, or no such number.
    """
    if epochs is not None and steps is not None:
        raise ValueError(f"epochs={epochs} steps={steps}: give one of them.")
    key, text = ("epochs", epochs) if steps is None else ("steps", steps)
    if text is None:
        return {}
    try:
        length = float(text) if steps is None else int(text)
    except (ValueError, TypeError):  # argparse makes a list of `--`
        length = math.nan
    if not 0 < length < math.inf:
        kind = "number" if steps is None else "whole number"
        raise ValueError(f"{key}={text}: a {kind} above 0.")
    return {key: length}


def asked_trial(args: argparse.Namespace, run: Run) -> TrialConfig:
    """The best trial, or the one whose key begins with --schedule.

    Raises:
        ValueError: none, or several trials; or one that runs code --family does not allow.
    """
    if args.schedule == "best":
        trial = run.best(args.space)
    else:
        trial = trial_from_row(find_trial(run, args.schedule))
    if is_import_path(trial.family) and args.family != trial.family:
        raise ValueError(
            f"this schedule runs the code of {trial.family!r}; to allow it, add "
            f"--family {shlex.quote(trial.family)}."
        )
    if is_import_path(trial.family):
        allow_import(trial.family)
    return trial


def place_in(run: Run, name: str) -> Path:
    """Where something of this name goes in the run's own folder.

    Raises:
        ValueError: it would be written through a symbolic link.
    """
    refuse_links(run.dirs[0])
    return run.dirs[0] / name


def file_at(out: Path, name: str) -> Path:
    """`out` where it names a file, else the file of this name in it."""
    return out if is_file_name(out) else out / name


def is_file_name(path: Path) -> bool:
    """True for a name with an ending that is no folder yet."""
    return bool(path.suffix) and not path.is_dir()


def print_each(kind: str, sentences: Iterable[str]) -> None:
    """A line each, after what it is."""
    for sentence in sentences:
        print(f"{kind}: {sentence}")


def print_schedule(trial: TrialConfig) -> None:
    """The best config and its stages, the middle left out when there are many."""
    from results.exports.snippet import stage_table
    from results.statistics.wording import format_params

    print(f"\nbest: {trial.space} ({format_params(trial.params)}), config {trial.config_key}")
    if is_import_path(trial.family):
        return
    columns = ("start_epoch", "lr", "batch_size", "momentum", "delta", "decay_rate")
    count, half = trial.schedule.num_stages, MAX_STAGES // 2
    is_long = count > MAX_STAGES
    stages = [*range(half), *range(count - half, count)] if is_long else range(count)
    lines = []
    for stage in stage_table(trial, stages):
        marks = " ".join(name for name in ("capped", "floored") if stage[name])
        lines.append([*(f"{stage[name]:.6g}" for name in columns), marks])
    if is_long:
        lines.insert(half, ["..."] * 6 + [""])
    header = ["from epoch", "lr", "batch", "momentum", "delta", "decay rate", ""]
    Table(caption="Stages of the best schedule", header=header, rows=lines).show()


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "compare": compare_command,
    "show": show_command,
    "judge": judge_command,
    "exclude": exclude_command,
    "verify": verify_command,
    "export": export_command,
    "report": report_command,
    "profile": profile_command,
}

if __name__ == "__main__":
    sys.exit(main())
