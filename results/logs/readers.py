"""What do logs of anybody's trainings say? One value by arm, seed and step.

A table (CSV, TSV, Parquet) with a column for each of these; the CSV of a W&B chart, with a column
a run; or a folder of TensorBoard event files. Where a run has a name instead of an arm and a seed,
the name tells both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from results.records.redaction import visible
from results.records.segments import MANIFEST_NAME
from search_spaces.registry import nearest

# "cosine/seed0", "cosine_s0", "cosine-0": the name's last number is the seed.
RUN_NAME = r"(?P<arm>.+?)[-_/ .,]+(?:seed|s)?[-_= ]?(?P<seed>\d+)"
EVENT_FILES = "*tfevents*"
TEXT_FILES = (".csv", ".tsv")
DELIMITERS = ",;\t"  # which of them a file has its header tells
DECIMAL_COMMA = re.compile(r"(?:^|;)\s*[-+]?\d+,\d+\s*(?:;|$)", re.M)  # beside semicolons
SAMPLE_BYTES = 100_000  # of a file, to see how it is written
CHART = " - "  # in a column of a W&B chart: "run name - val_loss"
CHART_EXTRAS = ("__MIN", "__MAX", "__STDERR")  # beside the value itself
CHART_STEPS = ("Step", "step", "_step", "trainer/global_step")
CHART_TIMES = ("Relative Time (Process)", "Relative Time (Wall)", "Wall Time")
NO_VALUE = "leave that training out, or say in the log what it counts as"
NO_STEP = "steps are plain numbers, without marks of thousands (another column: step=COLUMN)"
Record = tuple[str, str, float, float]  # arm, seed, step, value
Values = dict[str, dict[str, dict[float, float]]]  # arm -> seed -> step -> value


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Where in a log what is found: names of columns; value is a tag of TensorBoard.

    Attributes:
        value: None = the only column of numbers besides the others.
        runs: where runs have names, a pattern with the groups arm and seed.
    """

    arm: str = "arm"
    seed: str = "seed"
    step: str = "step"
    value: str | None = None
    runs: str = RUN_NAME


@dataclass(frozen=True, kw_only=True, slots=True)
class Logs:
    """What was read.

    Attributes:
        values: arm -> seed -> step -> value, steps rising, arms and seeds as they appeared.
        value: name of the column or tag. note: how arms and seeds were found, or nothing.
    """

    values: Values
    value: str
    note: str = ""


def read_logs(path: Path, columns: Columns) -> Logs:
    """Every finite value of these logs; where a cell is empty nothing was logged.

    Raises:
        ValueError: no such file, column or tag; a value that is no finite number; two values of
            one arm, seed and step; a run whose name tells no arm and seed.
    """
    if not path.exists():
        raise ValueError(f"{str(path)!r} does not exist.")
    if path.is_dir():
        return _read_events(path, columns)
    table, names = _read_table(path), columns
    twice = [name for name in table.column_names if table.column_names.count(name) > 1]
    if twice:
        raise ValueError(f"{path.name} has several columns called {twice[0]!r}.")
    if columns.arm not in table.column_names and (runs := _chart_columns(table, columns, path)):
        return _read_chart(table, columns, runs, path)
    places = [("arm", names.arm), ("seed", names.seed), ("step", names.step)]
    for key, name in places:
        if name not in table.column_names:
            raise _no_column(key, name, table.column_names, path)
    value = columns.value or _only_numbers(table, [name for _, name in places], path)
    if value not in table.column_names:
        raise _no_column("value", value, table.column_names, path)
    cells = [table.column(name).to_pylist() for name in (names.arm, names.seed, names.step, value)]
    rows = ((f"row {n}", *row) for n, row in enumerate(zip(*cells, strict=True), start=1))
    values = _gather(_records(rows, value, path), path)
    return Logs(values=values, value=visible(value, in_a_line=True))


def _read_table(path: Path) -> pa.Table:
    """The file as it is; numbers stay text where a column mixes them with something else."""
    kind = path.suffixes[-2] if path.suffix == ".gz" and path.suffixes[1:] else path.suffix
    is_parquet = kind.lower() in (".parquet", ".pq")
    if not is_parquet and kind.lower() not in TEXT_FILES:
        raise ValueError(
            f"{str(path)!r}: logs are a .csv, .tsv or .parquet file, or a folder of "
            "TensorBoard files."
        )
    try:
        table = pq.read_table(path) if is_parquet else _read_text(path)
        names = [name.strip() for name in table.column_names]
    except UnicodeError:
        raise _not_utf8(path) from None
    except Exception as error:  # also of a column's type that another library has registered
        raise ValueError(f"cannot read {str(path)!r}: {_first_line(error)}") from None
    # A column without a name is the index that pandas writes.
    return table.rename_columns(names).select([i for i, name in enumerate(names) if name])


def _read_text(path: Path) -> pa.Table:
    """A table as text; semicolons go with decimal commas, as spreadsheets of half the world write.

    Raises:
        UnicodeError: it is no UTF-8.
    """
    opened = pa.input_stream(path, compression="detect")
    with opened:
        sample = opened.read(SAMPLE_BYTES)
    text = sample.decode("utf-8-sig", errors="ignore" if len(sample) == SAMPLE_BYTES else "strict")
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    has_commas = delimiter == ";" and DECIMAL_COMMA.search(text) is not None
    # Only an empty cell is nothing: "nan" is a value, and a wrong one.
    return pa_csv.read_csv(
        path,
        parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            null_values=[""],
            strings_can_be_null=True,
            decimal_point="," if has_commas else ".",
        ),
    )


def _only_numbers(table: pa.Table, others: Sequence[str], path: Path) -> str:
    """The column of numbers besides these; or the only column at all, whose cells then tell."""
    rest = [field for field in table.schema if field.name not in others]
    candidates = [field.name for field in rest if _is_number(field.type)]
    if not candidates and len(rest) == 1:
        candidates = [rest[0].name]
    if len(candidates) != 1:
        what = ", ".join(candidates) or "none holds numbers"
        raise ValueError(f"value=: name the column of {path.name} to judge by ({what}).")
    return str(candidates[0])


def _is_number(kind: pa.DataType) -> bool:
    is_kind = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal)
    return any(test(kind) for test in is_kind)


def _records(rows: Iterable[tuple[Any, ...]], value: str, path: Path) -> Iterator[Record]:
    """Rows (where, arm, seed, step, value) as what they mean; those without a value left out."""
    for where, *cells, number in rows:
        if number is None:
            continue
        arm, seed, step = (_label(cell, path) for cell in cells)
        if arm is None or seed is None or step is None:
            lacking = "arm" if arm is None else "seed" if seed is None else "step"
            raise ValueError(f"{path.name}, {where}: a value without its {lacking}.")
        arm, seed = (visible(text, in_a_line=True) for text in (arm, seed))
        of = f"{path.name}, {where} (arm {arm}, seed {seed}, step {cells[2]})"
        at = _number(cells[2], "the step", of, NO_STEP)
        yield arm, seed, at, _number(number, value, of, NO_VALUE)


def _label(cell: Any, path: Path) -> str | None:
    """3 for 3.0: a column of whole numbers with a gap is one of floats; None for no cell."""
    if isinstance(cell, bytes):
        try:
            cell = cell.decode()
        except UnicodeError:
            raise _not_utf8(path) from None
    if isinstance(cell, float):
        if math.isnan(cell):
            return None
        return str(int(cell)) if cell.is_integer() else str(cell)
    return None if cell is None else str(cell).strip() or None


def _number(cell: Any, name: str, of: str, advice: str) -> float:
    try:
        number = math.nan if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{of}: {name} must be a finite number, but got {cell}; {advice}.")
    return number


def _gather(records: Iterable[Record], path: Path) -> Values:
    values: Values = {}
    for arm, seed, step, value in records:
        by_step = values.setdefault(arm, {}).setdefault(seed, {})
        if step in by_step:
            raise ValueError(
                f"{path.name}: arm {arm}, seed {seed} has two values at step {step:g} "
                f"({by_step[step]:g}, {value:g}); a training is one arm and one seed."
            )
        by_step[step] = value
    return {
        arm: {seed: dict(sorted(by_step.items())) for seed, by_step in seeds.items()}
        for arm, seeds in values.items()
    }


def _chart_columns(table: pa.Table, columns: Columns, path: Path) -> dict[str, tuple[str, str]]:
    """Columns of a W&B chart -> the run and what is charted; empty for any other table."""
    runs = {
        name: (name.rpartition(CHART)[0], name.rpartition(CHART)[2])
        for name in table.column_names
        if CHART in name and not name.endswith(CHART_EXTRAS)
    }
    if {columns.step, *CHART_STEPS} & {*table.column_names}:
        return runs
    if runs and (times := [name for name in CHART_TIMES if name in table.column_names]):
        raise ValueError(
            f"{path.name} has its values by {times[0]!r}, which no two trainings share: export "
            f"the chart with Step as its x axis, or say step={times[0]!r}."
        )
    return {}


def _read_chart(
    table: pa.Table, columns: Columns, runs: Mapping[str, tuple[str, str]], path: Path
) -> Logs:
    charted = list(dict.fromkeys(metric for _, metric in runs.values()))
    value = columns.value or charted[0]
    if value not in charted:
        raise _no_column("value", value, charted, path)
    if columns.value is None and len(charted) > 1:
        raise ValueError(f"value=: name what of {path.name} to judge by ({', '.join(charted)}).")
    step = next(n for n in (columns.step, *CHART_STEPS) if n in table.column_names)
    steps = table.column(step).to_pylist()
    rows = (
        (f"column {name!r}", *_arm_and_seed(run, columns.runs), at, number)
        for name, (run, metric) in runs.items()
        if metric == value
        for at, number in zip(steps, table.column(name).to_pylist(), strict=True)
    )
    values = _gather(_records(rows, value, path), path)
    note = _told(runs[next(iter(runs))][0], columns.runs)
    return Logs(values=values, value=visible(value, in_a_line=True), note=note)


def _read_events(folder: Path, columns: Columns) -> Logs:
    """Scalars by TensorBoard's own reader; of a step that was written twice the later one."""
    directories = sorted({file.parent for file in folder.rglob(EVENT_FILES)})
    if not directories:
        is_run = (folder / MANIFEST_NAME).exists()
        why = (
            "is a run of GradTune's: results compare"
            if is_run
            else "holds no TensorBoard event files"
        )
        raise ValueError(f"{str(folder)!r} {why}.")
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError:
        raise ValueError(
            "TensorBoard event files are read by its own package: pip install 'gradtune[logs]'."
        ) from None
    tags: dict[str, None] = {}
    rows: list[tuple[Any, ...]] = []
    first = ""
    for directory in directories:
        events = EventAccumulator(str(directory), size_guidance={"scalars": 0, "tensors": 0})
        events.Reload()
        known = events.Tags()
        tags |= dict.fromkeys([*known["scalars"], *known["tensors"]])
        if columns.value in known["scalars"]:
            scalars = {event.step: event.value for event in events.Scalars(columns.value)}
        elif columns.value in known["tensors"]:  # as newer writers store a scalar
            tensors = events.Tensors(columns.value)
            numbers = {e.step: make_ndarray(e.tensor_proto) for e in tensors}
            if any(n.size != 1 or n.dtype.kind not in "fiu" for n in numbers.values()):
                raise ValueError(
                    f"value={columns.value}: is no number (a histogram, a text, ...)."
                )
            scalars = {step: float(number.item()) for step, number in numbers.items()}
        else:
            continue
        name = directory.relative_to(folder).as_posix()
        arm, seed = _arm_and_seed(name, columns.runs)
        first = first or name
        rows += [(name, arm, seed, step, value) for step, value in scalars.items()]
    if columns.value is None:
        raise ValueError(f"value=: name the tag to judge by ({', '.join(sorted(tags))}).")
    if not rows:
        raise _no_column("value", columns.value, tags, folder)
    values = _gather(_records(rows, columns.value, folder), folder)
    return Logs(values=values, value=columns.value, note=_told(first, columns.runs))


def _arm_and_seed(run: str, pattern: str) -> tuple[str, str]:
    """What the name of a run says.

    Raises:
        ValueError: nothing of the kind, or no such pattern.
    """
    try:
        match = re.fullmatch(pattern, run)
        named = match.groupdict() if match else {}
    except re.error as error:
        raise ValueError(f"runs={pattern}: no regular expression: {error}") from None
    arm, seed = named.get("arm"), named.get("seed")
    if not arm or not seed:
        raise ValueError(
            f"run {run!r} does not tell its arm and seed; say how names do: "
            "runs='(?P<arm>.+)-(?P<seed>.+)'."
        )
    return arm, seed


def _told(run: str, pattern: str) -> str:
    arm, seed = _arm_and_seed(run, pattern)
    told = f"arms and seeds are read from the names of runs: {run!r} is arm {arm}, seed {seed}."
    return visible(told, in_a_line=True)


def _no_column(key: str, name: str, known: Iterable[str], path: Path) -> ValueError:
    names = list(known)
    hint = nearest(name, names)
    return ValueError(
        f"{key}={name}: {path.name} has no such column{hint} (has: {', '.join(names)})"
    )


def _not_utf8(path: Path) -> ValueError:
    return ValueError(f"{path.name} is not UTF-8 text: save it with that encoding.")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
