"""Logs of others are read as they are, or refused in one line that says what to do."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.logs.readers import Columns, read_logs
from tests.conftest import ROOT
from tests.fakes.logs import ENDS, rows, write_csv, write_events, write_log

EXPECTED = {arm: {str(seed): {} for seed in range(len(own))} for arm, own in ENDS.items()}
for name, seed, step, loss in rows():
    EXPECTED[name][str(seed)][step] = loss


def test_a_table_is_read_by_arm_seed_and_step(tmp_path: Path) -> None:
    logs = read_logs(write_log(tmp_path / "logs.csv"), Columns())
    assert (logs.values, logs.value) == (EXPECTED, "val_loss")


def test_a_tab_separated_and_a_parquet_table_say_the_same(tmp_path: Path) -> None:
    text = write_log(tmp_path / "logs.csv").read_text().replace(",", "\t")
    (tmp_path / "logs.tsv").write_text(text)
    arms, seeds, steps, losses = zip(*rows(), strict=True)
    # As pandas writes a column of whole numbers that once had a gap.
    table = {"arm": arms, "seed": [float(s) for s in seeds], "step": steps, "val_loss": losses}
    pq.write_table(pa.table({k: [*v] for k, v in table.items()}), tmp_path / "logs.parquet")
    for path in (tmp_path / "logs.tsv", tmp_path / "logs.parquet"):
        assert read_logs(path, Columns()).values == EXPECTED


def test_steps_are_sorted_and_an_empty_cell_is_no_evaluation(tmp_path: Path) -> None:
    lines = [("a", 0, 20, 2.0), ("a", 0, 10, ""), ("a", 0, 5, 3.0)]
    path = write_csv(tmp_path / "logs.csv", lines, "arm,seed,step,loss")
    assert list(read_logs(path, Columns()).values["a"]["0"].items()) == [(5, 3.0), (20, 2.0)]


def test_other_columns_are_named_and_others_ignored(tmp_path: Path) -> None:
    lines = [("x", "one", 1, 0.5, 7.0), ("x", "two", 1, 0.6, 8.0)]
    path = write_csv(tmp_path / "logs.csv", lines, "method,run,iteration,err,lr")
    columns = Columns(arm="method", seed="run", step="iteration", value="err")
    assert read_logs(path, columns).values == {"x": {"one": {1: 0.5}, "two": {1: 0.6}}}


def test_the_csv_of_a_wandb_chart_has_a_column_a_run(tmp_path: Path) -> None:
    runs = [("cosine_s0", "cosine", 0), ("wsd-lr0.1/seed3", "wsd-lr0.1", 3)]
    header = ["Step"]
    for run, _, _ in runs:
        header += [f"{run} - val_loss{extra}" for extra in ("", "__MIN", "__MAX")]
    with (tmp_path / "wandb.csv").open("w", newline="") as file:
        cells = csv.writer(file)
        cells.writerow(header)
        cells.writerow([0, 4.0, 4.0, 4.0, "", "", ""])
        cells.writerow([10, 3.0, 3.0, 3.0, 3.5, 3.5, 3.5])
    logs = read_logs(tmp_path / "wandb.csv", Columns())
    assert logs.values == {"cosine": {"0": {0: 4.0, 10: 3.0}}, "wsd-lr0.1": {"3": {10: 3.5}}}
    assert logs.value == "val_loss"
    assert "'cosine_s0' is arm cosine, seed 0" in logs.note


def test_a_wandb_chart_over_time_is_told_how_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "wandb.csv"
    path.write_text('"Relative Time (Wall)","a_s0 - loss"\n0.5,4.0\n9.5,3.0\n')
    with pytest.raises(ValueError, match=r"by 'Relative Time \(Wall\)'.* Step as its x axis"):
        read_logs(path, Columns())
    by_time = read_logs(path, Columns(step="Relative Time (Wall)"))
    assert by_time.values == {"a": {"0": {0.5: 4.0, 9.5: 3.0}}}


def test_a_tensorboard_folder_is_read_by_the_names_of_its_runs(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    write_events(tmp_path)
    values = read_logs(tmp_path, Columns(value="val/loss")).values
    for arm, seeds in EXPECTED.items():
        for seed, own in seeds.items():
            assert values[arm][seed] == pytest.approx(own, abs=1e-6)  # kept as float32
    with pytest.raises(ValueError, match=r"value=val/los: .* did you mean 'val/loss'\?"):
        read_logs(tmp_path, Columns(value="val/los"))
    with pytest.raises(ValueError, match=r"value=: name the tag to judge by \(lr, val/loss\)"):
        read_logs(tmp_path, Columns())


def test_scalars_that_newer_writers_store_as_tensors_are_read(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.util.tensor_util import make_tensor_proto

    writer = EventFileWriter(str(tmp_path / "a-0"))
    for step, loss in ((1, 2.5), (2, 2.0), (2, 1.5)):  # the last one after a restart
        value = Summary.Value(tag="loss", tensor=make_tensor_proto(loss))
        value.metadata.plugin_data.plugin_name = "scalars"
        writer.add_event(Event(step=step, summary=Summary(value=[value])))
    writer.close()
    assert read_logs(tmp_path, Columns(value="loss")).values == {"a": {"0": {1: 2.5, 2: 1.5}}}


def test_a_tensor_that_is_no_number_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.util.tensor_util import make_tensor_proto

    writer = EventFileWriter(str(tmp_path / "a-0"))
    for tag, content in (("hist", [[0.0, 1.0, 3.0]]), ("text", "hello")):
        value = Summary.Value(tag=tag, tensor=make_tensor_proto(content))
        writer.add_event(Event(step=1, summary=Summary(value=[value])))
    writer.close()
    for tag in ("hist", "text"):
        with pytest.raises(ValueError, match=f"^value={tag}: is no number"):
            read_logs(tmp_path, Columns(value=tag))


def test_without_its_package_a_tensorboard_folder_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a-0").mkdir()
    (tmp_path / "a-0" / "events.out.tfevents.1").write_bytes(b"")
    monkeypatch.setitem(
        __import__("sys").modules, "tensorboard.backend.event_processing.event_accumulator", None
    )
    with pytest.raises(ValueError, match=r"pip install 'gradtune\[logs\]'"):
        read_logs(tmp_path, Columns(value="loss"))


WRITTEN: dict[str, Callable[[str], bytes]] = {
    "with semicolons": lambda text: text.replace(",", ";").encode(),
    "with semicolons and decimal commas": lambda text: (
        text.replace(",", ";").replace(".", ",").encode()
    ),
    "with tabs": lambda text: text.replace(",", "\t").encode(),
    "with a byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "with spaces": lambda text: text.replace(",", ", ").encode(),
    "with the index that pandas writes": lambda text: "".join(
        f"{number or ''},{line}" for number, line in enumerate(text.splitlines(keepends=True))
    ).encode(),
    "compressed": lambda text: gzip.compress(text.encode()),
}


@pytest.mark.parametrize("way", WRITTEN)
def test_a_csv_is_read_however_programs_write_it(tmp_path: Path, way: str) -> None:
    text = write_log(tmp_path / "logs.csv").read_text()
    path = tmp_path / ("logs.csv.gz" if way == "compressed" else "other.csv")
    path.write_bytes(WRITTEN[way](text))
    logs = read_logs(path, Columns())
    assert logs.value == "val_loss"
    assert {
        a: {s: [*v.values()] for s, v in seeds.items()} for a, seeds in logs.values.items()
    } == {
        a: {s: pytest.approx([*v.values()], rel=1e-12) for s, v in seeds.items()}
        for a, seeds in EXPECTED.items()
    }


@pytest.mark.parametrize(
    "kind",
    [pa.float16(), pa.float32(), pa.decimal128(10, 4), pa.string(), pa.large_string()],
    ids=str,
)
def test_numbers_of_any_type_are_numbers(tmp_path: Path, kind: pa.DataType) -> None:
    arms, seeds, steps, losses = zip(*rows(), strict=True)
    told = [Decimal(f"{loss:.4f}") if pa.types.is_decimal(kind) else loss for loss in losses]
    column = pa.array(told) if pa.types.is_decimal(kind) else pa.array(told).cast(kind, safe=False)
    table = {"arm": pa.array(arms).dictionary_encode(), "seed": pa.array(seeds, pa.uint8())}
    table |= {"step": pa.array(steps, pa.uint64()), "val_loss": column}
    pq.write_table(pa.table(table), tmp_path / "logs.parquet")
    values = read_logs(tmp_path / "logs.parquet", Columns()).values
    assert values["wsd"]["4"][100] == pytest.approx(EXPECTED["wsd"]["4"][100], rel=2e-3)


def test_names_that_are_bytes_are_text(tmp_path: Path) -> None:
    table = {"arm": [b"a"], "seed": [b"0"], "step": [1], "loss": [1.5]}
    pq.write_table(pa.table(table), tmp_path / "logs.parquet")
    assert read_logs(tmp_path / "logs.parquet", Columns()).values == {"a": {"0": {1: 1.5}}}


@pytest.mark.parametrize(
    "data",
    ["arm,seed,step,loss\n\u00e4,0,1,1.5\n".encode("latin-1"),
     "arm,seed,step,loss\na,0,1,1.5\n".encode("utf-16"), b"\x93\x90,\xff\n1,2\n"],
    ids=["cells", "all of it", "no text"],
)  # fmt: skip
def test_what_is_not_utf8_is_refused_by_its_name(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "logs.csv").write_bytes(data)
    with pytest.raises(ValueError, match=r"^logs\.csv is not UTF-8 text: save it with that"):
        read_logs(tmp_path / "logs.csv", Columns())


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([("a", 0, 1, "nan")], r"row 1 \(arm a, seed 0, step 1\): loss must be a finite number"),
        ([("a", 0, 1, "inf")], "must be a finite number, but got inf"),
        ([("a", 0, 1, "n/a")], "must be a finite number, but got n/a"),
        ([("a", 0, 1, "4.0%")], "row 1 .*must be a finite number, but got 4.0%; leave that"),
        ([("a", 0, 1, "true")], "must be a finite number, but got True"),
        ([("a", 0, "one", 1.0)], "the step must be a finite number, but got one; steps are plain"),
        ([("a", 0, "10,000", 1.0)], "got 10,000; steps are plain numbers, without marks"),
        ([("a", 0, "2024-01-01", 1.0)], "step must be a finite number, but got 2024-01-01; steps"),
        ([("a", "nan", 1, 1.0), ("a", 0.5, 1, 1.0)], "row 1: a value without its seed"),
        ([("a", "", 1, 1.0)], "row 1: a value without its seed"),
        ([("a", 0, 1, 1.0), ("a", 0, 1, 2.0)], r"two values at step 1 \(1, 2\)"),
    ],
)
def test_a_value_that_says_nothing_is_refused_with_its_place(
    tmp_path: Path, lines: list[tuple[object, ...]], said: str
) -> None:
    path = write_csv(tmp_path / "logs.csv", lines, "arm,seed,step,loss")
    for value in ("loss", None):  # it is the only column there
        with pytest.raises(ValueError, match=said):
            read_logs(path, Columns(value=value))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (Columns(value="val_los"), r"value=val_los: .*did you mean 'val_loss'\? \(has: arm, seed"),
        (Columns(arm="method"), "arm=method: logs.csv has no such column"),
        (Columns(seed="sed"), "seed=sed: logs.csv has no such column; did you mean 'seed'"),
        (Columns(step="seed", seed="arm"), r"value=: name the column .* \(step, val_loss\)"),
    ],
)
def test_a_wrong_column_is_told_with_the_nearest(
    tmp_path: Path, columns: Columns, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        read_logs(write_log(tmp_path / "logs.csv"), columns)


def test_a_run_whose_name_says_nothing_asks_for_a_pattern(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "w.csv", [(0, 1.0)], "Step,adams3 - loss")
    with pytest.raises(ValueError, match=r"run 'adams3' does not tell its arm and seed"):
        read_logs(path, Columns())
    assert read_logs(path, Columns(runs=r"(?P<arm>\D+)(?P<seed>\d)")).values == {
        "adams": {"3": {0: 1.0}}
    }
    with pytest.raises(ValueError, match=r"runs=\(: no regular expression"):
        read_logs(path, Columns(runs="("))


@pytest.mark.parametrize("name", ["logs.xlsx", "logs", "none.csv"])
def test_what_is_no_log_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "logs.xlsx").write_text("x")
    (tmp_path / "logs").mkdir()
    with pytest.raises(ValueError, match=r"logs are a|holds no TensorBoard|does not exist"):
        read_logs(tmp_path / name, Columns())


def test_a_run_of_ours_is_sent_to_compare() -> None:
    with pytest.raises(ValueError, match=r"is a run of GradTune's: results compare\."):
        read_logs(ROOT / "tests" / "data" / "runs" / "ordinary", Columns())


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "logs.csv", [("a", "b", 0, 1, 1.0)], "arm,arm,seed,step,loss")
    with pytest.raises(ValueError, match="several columns called 'arm'"):
        read_logs(path, Columns())


def test_a_file_that_is_no_parquet_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "logs.parquet").write_text("no")
    with pytest.raises(ValueError, match="cannot read") as refused:
        read_logs(tmp_path / "logs.parquet", Columns())
    assert "\n" not in str(refused.value)
