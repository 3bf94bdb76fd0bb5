"""What happened? `load` reads runs, also running, crashed or half-damaged ones, and says so."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from results.arms.choice import objective_of, spaces_of, unit_of
from results.arms.selection import Place, comparable_runs, place_of, places_of_arms, with_excluded
from results.pictures import pictures_of
from results.reading import RunFiles, find_runs, read_run
from results.records.audit import lost_epochs
from results.records.events import read_commands
from results.records.lock import lock_holder
from results.records.plain import as_plain
from results.records.redaction import visible
from results.records.schema import KEYS, trial_from_row, with_own_params
from results.records.segments import TABLES
from search_spaces.metric import VAL_ACCURACY, Metric
from search_spaces.records import OPEN, named_value
from search_spaces.registry import unknown_name
from search_spaces.space import SearchSpace
from search_spaces.trial import Recipe, TrialConfig

if TYPE_CHECKING:  # scipy and optuna are imported late: `import results` stays cheap
    import optuna
    import pandas

    from results.arms.paragraph import Paragraph
    from results.statistics.compare import Comparison
    from results.tables import Table

# What two runs of one name differ in, and a run and its copy do not.
ORIGIN = ("started_at", "seed", "recipe")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one or several runs recorded.

    Attributes:
        trials, epochs: one row per trial, and per trial and epoch: of the latest attempt, in
            the order in which each first appeared. Columns: see results.records.schema; of
            trials also every name in `params`, of any of the runs.
        manifests: by run_id, which a run keeps in a renamed or copied folder.
        spaces: by name, as searched; of the last run where several hold the same name.
        notes: a sentence for everything skipped or unfinished.
        dirs: the run folders, in the order of `manifests`; of copies of one run the first.
        excluded: (run_id, trial_key) -> why, of trials that somebody left out (`results exclude`):
            still in `trials` and `epochs`, but no part of what is compared, drawn or chosen.
    """

    trials: pa.Table
    epochs: pa.Table
    manifests: Mapping[str, Mapping[str, Any]]
    spaces: Mapping[str, SearchSpace]
    notes: list[str]
    dirs: tuple[Path, ...]
    excluded: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """Trials as dicts, without excluded ones; `chosen` tells the config confirmed last."""
        rows = [dict(row) for row in self._rows if place_of(row) not in self.excluded]
        for row in rows:
            chosen = self.manifests.get(row["run_id"], {}).get("chosen", {})
            row["chosen"] = chosen.get(row["space"]) == row["config_key"]
        return rows

    @functools.cached_property
    def _rows(self) -> list[dict[str, Any]]:
        """All trials as dicts: a report asks for them 25 times."""
        rows: list[dict[str, Any]] = self.trials.to_pylist()
        return rows

    def excluded_rows(self) -> list[dict[str, Any]]:
        """Trials as dicts that somebody left out: trained and paid for, and no result."""
        rows = [dict(row) for row in self._rows] if self.excluded else []
        return [row for row in rows if place_of(row) in self.excluded]

    def search_rows(self) -> list[dict[str, Any]]:
        """Trials as dicts, in the order asked; `prefix_scores` of a search by prefixes.

        prefix_scores: the objective by samples (of whole reports), of every report.
        """
        rows = [dict(row) for row in self._rows]
        by_prefix = {
            run_id
            for run_id, manifest in self.manifests.items()
            if ((manifest.get("config") or {}).get("search") or {}).get("fidelity") == "prefix"
        }
        searched = [r for r in rows if r["run_id"] in by_prefix and r["role"] == "search"]
        epochs = self.epochs_by_trial(searched) if searched else {}
        for row in searched:
            recorded = epochs.get((row["run_id"], row["trial_key"]), [])
            row["prefix_scores"] = _prefix_scores(trial_from_row(row).recipe, recorded)
        return rows

    def frame(self, table: str = "trials") -> pandas.DataFrame:
        """A table ("trials", "epochs") as a pandas frame of numbers and text alone.

        Whatever version wrote it: `to_json`, `to_excel` and `to_csv` take it as it is. Bits are
        hexadecimal digits, metrics by name JSON, times ISO text in UTC.
        """
        tables = {"trials": self.trials, "epochs": self.epochs}
        if table not in tables:
            raise unknown_name("table", table, tables)
        return as_plain(tables[table]).to_pandas()

    @property
    def objective(self) -> Metric:
        """What the search ranked by; of the first run where several hold different ones."""
        return next(map(objective_of, self.manifests.values()), VAL_ACCURACY)

    @property
    def unit(self) -> str:
        """What these runs call a sample (`unit`); samples where they differ."""
        return unit_of(self.manifests)

    def epochs_by_trial(
        self, trials: Iterable[Mapping[str, Any]] | None = None, column: str | None = None
    ) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """Epoch rows by (run_id, trial_key): of these trials, with something in this column.

        Rows are many (10,000 trials of 200 epochs are 2 million): say which are needed.
        """
        epochs = self.epochs
        if trials is not None:
            keys = pa.array({row["trial_key"] for row in trials}, epochs["trial_key"].type)
            epochs = epochs.filter(pc.is_in(epochs["trial_key"], keys))
        if column is not None:
            epochs = epochs.filter(pc.is_valid(epochs[column]))
        by_trial: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in epochs.to_pylist():
            by_trial.setdefault((row["run_id"], row["trial_key"]), []).append(row)
        return by_trial

    def compare(
        self,
        metric: str | None = None,
        min_effect: float | None = None,
        reference: str | None = None,
        goal: str | None = None,
    ) -> Comparison:
        """The arms side by side, judged on their confirm trials only.

        Args:
            metric: a column of trials that holds a result, or a name that the trainings
                reported; None = the run's objective on test data (test_accuracy, test_loss).
            min_effect: smallest difference worth calling better, in the metric's unit; None =
                the run's own setting, else of an accuracy max(0.002, two test images) (0.002 of
                a user's own training), of any other metric none.
            reference: the arm that all are compared with; None = your default, if it is there.
            goal: min | max, where the metric's name does not tell which way is better.

        Raises:
            ValueError: unknown metric, goal or reference, or the runs trained different
                workloads.
        """
        from results.arms.comparison import compare_arms

        rows, manifests = self.rows(), self.manifests
        comparison = compare_arms(
            rows,
            manifests,
            metric=metric,
            goal=goal,
            min_effect=min_effect,
            reference=reference,
            excluded=self.excluded_rows(),
        )
        return replace(comparison, verdict=f"{comparison.verdict} {self.left_out}".rstrip())

    @property
    def left_out(self) -> str:
        """A sentence on what somebody excluded by hand, and why; "" where nothing is."""
        rows = {place_of(row): row for row in self.excluded_rows()}
        reasons = [f"{describe(rows[p])} ({why})" for p, why in self.excluded.items() if p in rows]
        trials = f"{len(reasons)} trial{'s' * (len(reasons) != 1)}"
        return f"Excluded by hand: {trials}, {', '.join(reasons)}." if reasons else ""

    def pick(self, arms: Iterable[str]) -> Run:
        """These arms alone: comparisons, figures and reports of them know no others.

        Args:
            arms: names as in a comparison; "baseline", or its own name, is your default.

        Raises:
            ValueError: an unknown arm, or fewer than two.
        """
        places, num, num_all = places_of_arms(self.rows(), arms, self.excluded_rows())
        note = (
            f"{num} of {num_all} arms were picked by name: claims are corrected for these alone, "
            "which holds where they were picked before the results were seen."
        )
        return self._only(places, [note] if num < num_all else [])

    def comparable(self, metric: str | None = None) -> Run:
        """Of several runs those that trained the same; `notes` tells which are left out, and why.

        All of them where no two are comparable. metric: see `compare`; named, runs of several
        objectives can be compared by it.
        """
        starts = {run_id: str(m.get("started_at") or "") for run_id, m in self.manifests.items()}
        rows, excluded = self.rows(), self.excluded_rows()
        kept, left_out = comparable_runs(
            rows, starts, by_objective=metric is None, excluded=excluded
        )
        if len(kept) < 2 or not left_out:
            return self
        places = {place_of(row) for row in (*rows, *excluded) if row["run_id"] in kept}
        reasons = [f"run {run_id} is left out: {why}." for run_id, why in left_out.items()]
        whole = self._only(places, reasons)
        dirs = zip(self.manifests, self.dirs, strict=True)
        return replace(
            whole,
            manifests={
                run_id: self.manifests[run_id] for run_id in self.manifests if run_id in kept
            },
            dirs=tuple(run_dir for run_id, run_dir in dirs if run_id in kept),
        )

    def _only(self, places: set[Place], notes: Iterable[str]) -> Run:
        """The same with these trials alone, and more notes."""
        tables = {}
        for name, table in (("trials", self.trials), ("epochs", self.epochs)):
            rows = zip(table["run_id"].to_pylist(), table["trial_key"].to_pylist(), strict=True)
            tables[name] = table.filter(pa.array([place in places for place in rows], pa.bool_()))
        excluded = {place: why for place, why in self.excluded.items() if place in places}
        return replace(self, **tables, excluded=excluded, notes=[*self.notes, *notes])

    def paragraph(self, comparison: Comparison | None = None) -> Paragraph:
        """What one pastes into a pull request or a paper: what was compared, how, the result.

        comparison: of this run; None = `compare()`, whose ValueError it raises.
        """
        from results.arms.paragraph import write_paragraph

        rows, typed = self.rows(), [line for path in self.dirs for line in read_commands(path)]
        typed = typed or [m["command"] for m in self.manifests.values() if "command" in m]
        whole = comparison or self.compare()
        return write_paragraph(
            rows, self.manifests, whole, typed, notes=self.notes, left_out=self.left_out
        )

    def best(self, space: str | None = None) -> TrialConfig:
        """The config confirmed for this arm, in full; before that the one its search found best.

        Args:
            space: an arm; None = the searched arm (never the baseline) with the best mean on
                test data, before confirmation the best objective.

        Raises:
            ValueError: no such arm, or nothing has finished.
        """
        from results.arms.scores import best_row

        return replace(trial_from_row(best_row(self.rows(), space)), horizon=1.0, until=None)

    def states(self) -> list[str]:
        """One line a run, "run digits-x1: completed", then the notes."""
        states = [f"run {id_}: {m.get('status', 'unknown')}" for id_, m in self.manifests.items()]
        return states + [f"note: {note}" for note in self.notes]

    def overview(self) -> Table:
        """The arms: their trials by status, samples trained on, best full training."""
        from results.arms.choice import group_by_arm, is_full, score_of_search
        from results.statistics.wording import (
            arm_label,
            column_title,
            number,
            status_counts,
            value_text,
        )
        from results.tables import Table

        metric, arms = self.objective, group_by_arm(self.rows())
        best = {
            name: max((score_of_search(r) for r in trials if is_full(r)), default=math.nan)
            for name, trials in arms.items()
        }
        spent = with_excluded(arms, self.excluded_rows())
        rows = [
            [
                arm_label(name),
                status_counts(Counter(row["status"] for row in trials)),
                number(sum(row["samples_seen"] or 0 for row in spent[name])),
                value_text(metric.score(best[name]), metric),
            ]
            for name, trials in arms.items()
        ]
        words = "best validation" if metric.is_accuracy else f"best {metric.name}"
        header = ["arm", "trials", self.unit, column_title(words, metric)]
        return Table(caption="Arms, their trials and what they took", header=header, rows=rows)

    def __repr__(self) -> str:  # of a table a screen would hold nothing else
        runs = ", ".join(
            f"{id_}: {m.get('status', 'unknown')}" for id_, m in self.manifests.items()
        )
        return f"<Run {runs}; {self.trials.num_rows} trials, {self.epochs.num_rows} epochs>"

    def _repr_html_(self) -> str:
        states = "".join(f"<p>{escape(line)}</p>" for line in self.states())
        return states + self.overview().html() + pictures_of(self)

    def to_study(self, space: str) -> optuna.Study:
        """The Optuna study of this space, rebuilt in memory.

        Raises:
            ValueError: no such space.
        """
        from results.study import build_study

        if space not in self.spaces:
            raise unknown_name("space", space, self.spaces)
        return build_study(self.spaces[space], self.search_rows())


def _prefix_scores(recipe: Recipe, recorded: list[dict[str, Any]]) -> dict[int, float]:
    """The objective by samples, of every evaluation point that a report stands for.

    Where one batch passes several points they are one report, the score of each of them.
    """
    scores: dict[int, float] = {}
    before = {0: 0} | {row["epoch"]: row["samples_seen"] for row in recorded}
    for row in recorded:
        value = named_value(row, recipe.objective)
        if value is None or not math.isfinite(value):
            continue
        point = recipe.point_at(row["samples_seen"])
        first = recipe.point_at(before.get(row["epoch"] - 1, recipe.samples_at(point) - 1)) + 1
        scores |= {recipe.samples_at(p): value for p in range(first, point + 1)}
    return scores


def load(path: str | Path | Iterable[str | Path]) -> Run:
    """Read runs: a run folder, a folder of run folders, a glob, or several of these.

    Damaged files are skipped and noted; a writer may be busy meanwhile. Of runs in a bucket
    ("s3://bucket/runs/*") what changed is copied first, and `dirs` are the copies.

    Raises:
        ValueError: nothing there, or written by a newer GradTune.
        BucketError: a bucket cannot be read.

    Example:
        >>> run = load("runs/*")  # doctest: +SKIP
        >>> print(run.compare().verdict)  # doctest: +SKIP
    """
    runs, left_out = [], []
    for run_dir in (run_dirs := find_runs(path)):
        try:
            runs.append(read_run(run_dir))
        except ValueError as error:  # of a newer GradTune: the others are still there
            if len(run_dirs) == 1:
                raise
            left_out.append(f"{run_dir} is left out: {error}")
    if not runs:
        raise ValueError(left_out[0])
    whole = _assemble(runs)
    return replace(whole, notes=[*whole.notes, *left_out])


def describe(row: Mapping[str, Any]) -> str:
    """What a trial is, in words: "poly confirm 2"."""
    return f"{row['space']} {row['role']} {row['replicate']}"


def find_trial(run: Run, key: str) -> dict[str, Any]:
    """The row of the trial whose key this is, or begins with it.

    Raises:
        ValueError: none, or several.
    """
    rows: dict[str, dict[str, Any]] = {row["trial_key"]: row for row in run.trials.to_pylist()}
    if not key:
        raise ValueError(
            f"name a trial by its key or the beginning of it, such as {next(iter(rows), 'a1b2')}."
        )
    keys = [trial_key for trial_key in rows if trial_key.startswith(key)]
    if len(keys) != 1:
        raise ValueError(f"{len(keys)} trials have a key that begins with {key!r}.")
    return rows[keys[0]]


def _with_different_ids(runs: list[RunFiles]) -> list[RunFiles]:
    """Runs of one name that are not the same run: the later ones are called by their folders."""
    known: dict[str, list[tuple[list[Any], str]]] = {}  # run_id -> origins, each with its id
    named = []
    for run in runs:
        origin, others = [run.manifest.get(name) for name in ORIGIN], known.get(run.run_id, [])
        own = visible(str(run.run_dir), in_a_line=True) if others else run.run_id
        run_id = next((id_ for before, id_ in others if before == origin), None)
        if run_id is None:
            run_id = own
            known[run.run_id] = [*others, (origin, own)]
        if run_id != run.run_id:
            tables = {
                name: table.set_column(
                    table.column_names.index("run_id"),
                    table.schema.field("run_id"),
                    pa.array([run_id] * table.num_rows, pa.string()),
                )
                for name, table in run.tables.items()
            }
            manifest = run.manifest | {"run_id": run_id}
            run = replace(run, tables=tables, manifest=manifest)
        named.append(run)
    return named


def _assemble(runs: list[RunFiles]) -> Run:
    runs = _with_different_ids(runs)
    tables = {
        name: _deduplicate(pa.concat_tables([run.tables[name] for run in runs]), KEYS[name])
        for name in TABLES
    }
    notes = [note for run in runs for note in run.damage]
    by_id: dict[str, RunFiles] = {}
    for run in runs:
        first = by_id.setdefault(run.run_id, run)
        if first is not run:
            notes.append(f"{run.run_dir} and {first.run_dir} hold the same run: counted once.")
    notes += [note for run in by_id.values() if (note := _progress(run, tables["trials"]))]
    whole = Run(
        trials=with_own_params(tables["trials"]),
        epochs=tables["epochs"],
        manifests={run_id: run.manifest for run_id, run in by_id.items()},
        spaces={name: space for run in runs for name, space in spaces_of(run.manifest).items()},
        notes=notes,
        dirs=tuple(run.run_dir for run in by_id.values()),
        excluded={
            (run.run_id, key): why for run in by_id.values() for key, why in run.excluded.items()
        },
    )
    notes += [whole.left_out] if whole.left_out else []
    holders = [lock_holder(run.run_dir) for run in runs]
    if not any(holder and holder.alive for holder in holders):
        notes += _gone(whole)
    return whole


def _gone(run: Run) -> list[str]:
    """What the records lack: files that somebody removed are not damaged, they are not there."""
    recorded = set(run.trials["run_id"].to_pylist())
    notes = [
        f"run {run_id} has ended, but none of its trials is there."
        for run_id, manifest in run.manifests.items()
        if manifest.get("status") == "completed" and run_id not in recorded
    ]
    lost = len(lost_epochs(run.trials, run.epochs))
    if lost:
        notes.append(f"{lost} trials lack epochs; python -m results verify tells which.")
    return notes


def _deduplicate(table: pa.Table, keys: tuple[str, ...]) -> pa.Table:
    """One row per run and key: latest attempt, then latest row; in order of first appearance."""
    if table.num_rows == 0:
        return table
    names = ["run_id", *keys]
    row_R = pa.array(range(table.num_rows))
    rows = table.select([*names, "attempt"]).append_column("row", row_R)
    ordered = rows.sort_by([("attempt", "ascending"), ("row", "ascending")])
    kept = ordered.group_by(names, use_threads=False).aggregate([("row", "min"), ("row", "last")])
    return table.take(kept.sort_by("row_min")["row_last"]).combine_chunks()


def _progress(run: RunFiles, trials: pa.Table) -> str | None:
    """Is this run running, or was it interrupted?"""
    mine = trials.filter(pc.equal(trials["run_id"], run.run_id))
    unfinished = pc.sum(pc.is_in(mine["status"], pa.array(OPEN))).as_py() or 0
    holder = lock_holder(run.run_dir)
    if not unfinished and holder is None:
        return None
    state = "is still running" if holder and holder.alive else "was interrupted"
    return f"run {run.run_id} {state}: {unfinished} trials unfinished."
