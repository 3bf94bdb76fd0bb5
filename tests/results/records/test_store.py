"""RunStore under fire: nothing visible is ever half-written, nothing flushed is lost."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

import results
from results.records import store as store_module
from results.records.schema import EPOCHS, TRIALS, epoch_row
from results.records.segments import list_segments, read_segment
from results.records.store import FLUSH_SECONDS, RunStore, check_run_name
from tests.fakes.results import make_epochs, make_trial, write_run, write_trial
from tests.faults.counts import repeats, tries

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path):
    with RunStore.create(tmp_path / "run", {"status": "running"}, "epochs: 6\n") as store:
        yield store


def some_epoch(epoch: int, attempt: int = 0, **changes: object) -> dict[str, object]:
    trial = make_trial()
    record = make_epochs(trial, 0.9)[0]
    return {**epoch_row("run", trial, attempt, record), "epoch": epoch, **changes}


def wait_until(condition, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.02)


def test_a_new_run_has_manifest_and_config(store):
    manifest = json.loads((store.run_dir / "manifest.json").read_text())
    assert manifest.items() >= {"run_id": "run", "schema_version": 2, "status": "running"}.items()
    assert (store.run_dir / "config.yaml").read_text() == "epochs: 6\n"


@pytest.mark.slow
def test_rows_come_to_the_disk_by_themselves(store):
    assert FLUSH_SECONDS <= 0.5  # an epoch is to be durable within 1 s
    store.add_epochs([some_epoch(1)])
    wait_until(lambda: list_segments(store.run_dir, "epochs"))
    assert read_segment(list_segments(store.run_dir, "epochs")[0], EPOCHS).num_rows == 1


def test_rows_are_durable_once_all_given_before_a_ticket_are_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "FLUSH_SECONDS", 1000.0)
    with RunStore.create(tmp_path / "run", {}, "") as store:
        store.add_epochs([some_epoch(1)])
        ticket = store.ticket()
        assert not store.is_durable(ticket)
        write = store._write_all

        def give_another() -> None:
            write()
            store.add_epochs([some_epoch(2)])
            tickets.append(store.ticket())

        tickets: list[int] = []
        monkeypatch.setattr(store, "_write_all", give_another)
        assert store.flush()
        assert store.is_durable(ticket)
        assert not store.is_durable(tickets[0])  # it came while the others were written
        monkeypatch.setattr(store, "_write_all", write)
        assert store.flush()
        assert store.is_durable(tickets[0])


@pytest.mark.fault("15", "an existing run: refused with its number of trials and both ways on")
def test_an_existing_run_is_refused_with_its_number_of_trials(tmp_path):
    write_run(tmp_path / "run", trials=2, seeds=1)
    said = f"run 'run' exists (7 trials); use resume={tmp_path}/run or another name."
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        RunStore.create(tmp_path / "run", {}, "")


@pytest.mark.parametrize(
    "name", ["../x", "/abs", "..", "a/b", "", "x" * 65, "a\0", "a\n", "-a", ".a", "a b", "\u00e9"]
)
def test_unsafe_run_names_are_refused(name):
    with pytest.raises(ValueError, match="a run name must be 1 to 64"):
        check_run_name(name)


@pytest.mark.parametrize("name", ["a", "20261121T071500Z-poly-3f2a", "A.b_c-9", "x" * 64])
def test_safe_run_names_are_accepted(name):
    check_run_name(name)


def test_a_newer_row_replaces_the_older_in_place(store):
    first, second = make_trial(), make_trial("cosine")
    write_trial(store, first, status="running")
    write_trial(store, second, status="running")
    store.flush()
    write_trial(store, first, status="completed")
    store.flush()
    rows = read_segment(list_segments(store.run_dir, "trials")[0], TRIALS).to_pylist()
    assert [(r["space"], r["status"]) for r in rows] == [
        ("poly", "completed"),
        ("cosine", "running"),
    ]


def test_a_zombie_cannot_replace_a_later_attempt(store):
    store.add_epochs([some_epoch(1, attempt=2, lr=2.0)])
    store.add_epochs([some_epoch(1, attempt=1, lr=1.0)])
    store.flush()
    rows = read_segment(list_segments(store.run_dir, "epochs")[0], EPOCHS).to_pylist()
    assert [(r["attempt"], r["lr"]) for r in rows] == [(2, 2.0)]


def test_segments_are_cut_and_continued_on_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "SEGMENT_ROWS", 10)
    with RunStore.create(tmp_path / "run", {}, "") as first:
        for epoch in range(1, 26):
            first.add_epochs([some_epoch(epoch)])
            first.flush()
    with RunStore.open(tmp_path / "run") as second:
        second.add_epochs([some_epoch(26)])
    segments = list_segments(tmp_path / "run", "epochs")
    assert [path.name for path in segments] == [f"0000{i}.parquet" for i in range(4)]
    sizes = [read_segment(path, EPOCHS).num_rows for path in segments]
    assert sizes == [10, 10, 5, 1]


def test_opening_sweeps_temporary_files_and_keeps_the_rest(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    leftovers = [run_dir / ".manifest.json.1.tmp", run_dir / "epochs" / ".00000.parquet.1.tmp"]
    for path in leftovers:
        path.write_bytes(b"half")
    assert results.load(run_dir).notes == []
    RunStore.open(run_dir).close()
    assert not any(path.exists() for path in leftovers)
    assert results.verify(run_dir) == []


def test_opening_a_missing_run_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"^no run in .*manifest.json is missing.$"):
        RunStore.open(tmp_path / "nothing")


def test_a_newer_run_is_not_continued(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=0)
    (run_dir / "manifest.json").write_text('{"schema_version": 3}')
    with pytest.raises(ValueError, match=r"schema version 3, but this GradTune reads up to 2"):
        RunStore.open(run_dir)


def test_manifest_updates_are_visible_at_once(store):
    store.update_manifest(status="completed", ended_at="2026-11-21T08:00:00+00:00")
    manifest = json.loads((store.run_dir / "manifest.json").read_text())
    assert manifest["status"] == "completed"
    assert manifest["run_id"] == "run"


def test_events_are_json_lines_and_a_torn_one_is_closed_on_resume(tmp_path):
    with RunStore.create(tmp_path / "run", {}, "") as store:
        store.event("trial_started", trial_key="ab\ncd")
        path = store.run_dir / "events.jsonl"
        (line,) = path.read_text().splitlines()
        assert json.loads(line)["trial_key"] == "ab\ncd"
    with path.open("a") as file:
        file.write('{"kind": "to')
    with RunStore.open(tmp_path / "run") as store:
        store.event("resumed")
    assert json.loads(path.read_text().splitlines()[-1])["kind"] == "resumed"


@pytest.mark.slow
def test_a_failing_disk_keeps_rows_and_recovers(store):
    away = store.run_dir / "elsewhere"
    (store.run_dir / "epochs").rename(away)
    store.add_epochs([some_epoch(1)])
    assert not store.flush()
    assert isinstance(store.error, OSError)
    store.event("still alive")
    assert store.error is not None
    away.rename(store.run_dir / "epochs")
    store.add_epochs([some_epoch(2)])
    wait_until(lambda: store.error is None)
    assert read_segment(list_segments(store.run_dir, "epochs")[0], EPOCHS).num_rows == 2


def test_closing_on_a_failing_disk_says_so_and_frees_the_run(tmp_path):
    store = RunStore.create(tmp_path / "run", {}, "")
    (tmp_path / "run" / "epochs").rename(tmp_path / "run" / "away")
    store.add_epochs([some_epoch(1)])
    with pytest.raises(OSError, match="epochs"):
        store.close()
    RunStore.open(tmp_path / "run").close()


@pytest.mark.slow
def test_a_full_disk_leaves_earlier_rows_intact(tmp_path):
    code = (
        "import sys, resource\n"
        "from tests.results.records.test_store import RunStore, some_epoch\n"
        "store = RunStore.create(sys.argv[1], {}, '')\n"
        "store.add_epochs([some_epoch(1)]); assert store.flush()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, -1))\n"
        "store.add_epochs([some_epoch(2)]); assert not store.flush() and store.error is not None\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))\n"
        "assert store.flush() and store.error is None\n"
        "store.close()\n"
    )
    run(code, tmp_path / "run")
    loaded = results.load(tmp_path / "run")
    assert loaded.epochs["epoch"].to_pylist() == [1, 2]
    assert results.verify(tmp_path / "run") == []


def test_two_writers_in_one_process_are_refused(store):
    with pytest.raises(ValueError, match=f"being written by process {os.getpid()} on"):
        RunStore.open(store.run_dir)


@pytest.mark.slow
def test_a_second_driver_is_refused_and_a_dead_one_is_followed(tmp_path):
    code = (
        "import sys\n"
        "from results.records.store import RunStore\n"
        "store = RunStore.create(sys.argv[1], {}, '')\n"
        "print('ready', flush=True); sys.stdin.read()\n"
    )
    driver = start(code, tmp_path / "run")
    try:
        assert driver.stdout.readline() == "ready\n"
        with pytest.raises(ValueError, match=f"process {driver.pid} on"):
            RunStore.open(tmp_path / "run")
        assert "is still running" in results.load(tmp_path / "run").notes[0]
    finally:
        driver.kill()
        driver.communicate()
    assert "was interrupted" in results.load(tmp_path / "run").notes[0]
    RunStore.open(tmp_path / "run").close()
    assert results.load(tmp_path / "run").notes == []


def test_a_lock_of_another_host_is_respected(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=0)
    (run_dir / ".lock").write_text('{"pid": 1, "host": "elsewhere"}')
    with pytest.raises(ValueError, match=r"process 1 on elsewhere.*delete"):
        RunStore.open(run_dir)


def test_only_one_of_many_racing_openers_wins(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=0)
    dead = {"pid": 999999999, "host": os.uname().nodename}
    (run_dir / ".lock").write_text(json.dumps(dead))
    won: list[RunStore] = []
    gate = threading.Barrier(8)

    def race() -> None:
        gate.wait()
        try:
            won.append(RunStore.open(run_dir))
        except ValueError:
            return

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].close()


WRITER = """
import os, signal, sys, threading, time
from tests.results.records.test_store import RunStore, some_epoch
store = RunStore.open(sys.argv[1])
row = some_epoch(1)
threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGKILL)).start()
for epoch in range(1, 100000):
    store.add_epochs([{**row, "epoch": epoch}])
    print(epoch, time.monotonic(), flush=True)
    time.sleep(0.002)
"""


@pytest.mark.fault("9")
@pytest.mark.slow
def test_sigkill_leaves_every_file_readable_and_loses_nothing_older_than_a_second(tmp_path):
    rng = random.Random(9)
    with tries() as once:
        for group in range(repeats(1, 50)):
            writers = {}
            for number in range(4):
                run_dir = tmp_path / f"run{group}-{number}"
                RunStore.create(run_dir, {}, "").close()
                writers[run_dir] = start(WRITER, run_dir, str(rng.uniform(1.2, 1.8)))
            for run_dir, writer in writers.items():
                lines = writer.communicate()[0].splitlines()
                assert writer.returncode == -signal.SIGKILL
                with once("9", "a writer killed: all files whole, no row older than 1 s lost"):
                    check_killed(run_dir, lines)


def check_killed(run_dir, lines):
    """Its rows, as its writer has told them and when."""
    added = [line.split() for line in lines if len(line.split()) == 2]
    killed = float(added[-1][1])
    old = [int(epoch) for epoch, at in added if float(at) < killed - 1.0]
    assert old
    run_ = results.load(run_dir)
    assert run_.notes == [f"run {run_dir.name} was interrupted: 0 trials unfinished."]
    assert set(old) <= set(run_.epochs["epoch"].to_pylist())
    with RunStore.open(run_dir) as store:
        store.add_epochs([some_epoch(10**6)])
    assert results.load(run_dir).epochs.num_rows == run_.epochs.num_rows + 1
    assert results.verify(run_dir) == []


@pytest.mark.slow
def test_readers_see_whole_generations_while_a_writer_rewrites(store, monkeypatch):
    monkeypatch.setattr(store_module, "SEGMENT_ROWS", 40)
    done = threading.Event()

    def write() -> None:
        for epoch in range(1, 91):
            store.add_epochs([some_epoch(epoch)])
            store.flush()
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    sizes = []
    while not done.is_set():
        run_ = results.load(store.run_dir)
        assert run_.notes == ["run run is still running: 0 trials unfinished."]
        sizes.append(run_.epochs.num_rows)
    writer.join()
    assert sizes == sorted(sizes)
    assert len(sizes) > 5


def start(code: str, run_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(run_dir), *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(code: str, run_dir: Path) -> None:
    process = start(code, run_dir)
    process.communicate()
    assert process.returncode == 0


@pytest.mark.parametrize("text", ["[1, 2]", "{", '"run"', ""])
def test_a_manifest_that_is_no_object_is_one_sentence(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"^cannot read .*manifest.json: [^\n]+$"):
        RunStore.open(tmp_path)


def leftovers(run_dir: Path) -> None:
    (run_dir / "epochs").mkdir(parents=True)


def killed_later(run_dir: Path) -> None:
    for table in ("epochs", "trials"):
        (run_dir / table).mkdir(parents=True)
    (run_dir / "config.yaml").write_text("half")
    (run_dir / ".manifest.json.77.tmp").write_text("half")
    dead = {"pid": 4194305, "host": os.uname().nodename}
    (run_dir / ".lock").write_text(json.dumps(dead))


@pytest.mark.parametrize("make", [Path.mkdir, leftovers, killed_later])
def test_the_folder_of_a_start_that_failed_is_used_again(tmp_path, make):
    make(tmp_path / "run")
    assert store_module.is_unused(tmp_path / "run")
    with RunStore.create(tmp_path / "run", {}, "epochs: 6\n") as store:
        assert (store.run_dir / "config.yaml").read_text() == "epochs: 6\n"
    assert results.verify(tmp_path / "run") == []
    assert not store_module.is_unused(tmp_path / "run")


def test_a_writer_at_work_does_not_make_a_folder_somebody_elses(tmp_path):
    (tmp_path / ".config.yaml.1.tmp").touch()
    done = threading.Event()

    def replace():
        while not done.is_set():
            (tmp_path / ".config.yaml.1.tmp").unlink()
            (tmp_path / ".config.yaml.1.tmp").touch()

    writer = threading.Thread(target=replace)
    writer.start()
    answers = {store_module.is_unused(tmp_path) for _ in range(2_000)}
    done.set()
    writer.join()
    assert answers == {True}


def of_somebody(run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / "config.yaml").write_text("mine")


def with_rows(run_dir: Path) -> None:
    write_run(run_dir, trials=1, seeds=0)
    (run_dir / "manifest.json").unlink()


@pytest.mark.parametrize("make", [of_somebody, with_rows, Path.touch])
def test_a_folder_with_something_in_it_becomes_no_run(tmp_path, make):
    make(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"is there and holds no run; use another name\.$"):
        RunStore.create(tmp_path / "run", {}, "")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_start_that_is_given_up_gives_its_name_free(tmp_path):
    lock = store_module.reserve(tmp_path / "run")
    with pytest.raises(ValueError, match="is being written by"):
        store_module.reserve(tmp_path / "run")
    store_module.abandon(lock)
    assert list(tmp_path.iterdir()) == []
    store_module.abandon(lock)
    RunStore.create(tmp_path / "run", {}, "").close()


@pytest.mark.parametrize("error", [MemoryError("9 GB"), pa.ArrowInvalid("odd")])
def test_rows_that_could_not_be_merged_wait_on(store, monkeypatch, error):
    def fail(*args, **options):
        raise error

    store.add_epochs([some_epoch(1)])
    with monkeypatch.context() as full:
        tables = SimpleNamespace(from_batches=fail)
        full.setattr(store_module, "pa", SimpleNamespace(**vars(pa) | {"Table": tables}))
        assert not store.flush()
        assert str(error) in str(store.error)
    assert store.flush()
    assert results.load(store.run_dir).epochs.num_rows == 1


def test_giving_up_a_run_that_has_begun_removes_nothing(tmp_path):
    lock = store_module.reserve(tmp_path / "run")
    store = RunStore.create(tmp_path / "run", {}, "", lock)
    store.add_epochs([some_epoch(1)])
    store.close()
    store_module.abandon(lock)
    assert results.load(tmp_path / "run").epochs.num_rows == 1


def test_who_was_taken_for_dead_writes_nothing_more(store):
    store.add_epochs([some_epoch(1)])
    assert store.flush()
    newer = {"pid": 1, "host": "node7", "token": "newer"}
    (store.run_dir / ".lock").write_text(json.dumps(newer))
    store.add_epochs([some_epoch(2)])
    assert not store.flush()
    assert "taken over by process 1 on node7" in str(store.error)
    store.update_manifest(status="completed")
    assert json.loads((store.run_dir / "manifest.json").read_text())["status"] == "running"
    assert results.load(store.run_dir).epochs.num_rows == 1
    (store.run_dir / ".lock").unlink()  # the other has ended
    assert not store.flush()
    assert "taken over by another process, which has ended" in str(store.error)
    (store.run_dir / ".lock").touch()  # lets the fixture close it


def test_rows_that_the_storage_does_not_take_are_rescued_beside_what_is_there(tmp_path):
    store = RunStore.create(tmp_path / "run", {}, "")
    store.add_epochs([some_epoch(1)])
    assert store.flush()
    (tmp_path / "run" / "epochs").rename(tmp_path / "away")
    store.add_epochs([some_epoch(2)])
    store.add_epochs([some_epoch(3)])
    with pytest.raises(OSError, match="epochs"):
        store.close()
    (tmp_path / "rescue").mkdir()
    assert store.rescue(tmp_path / "rescue") == 2
    (tmp_path / "away").rename(tmp_path / "run" / "epochs")
    # Also when a resume has written files of its own since.
    with RunStore.open(tmp_path / "run") as resumed:
        resumed.add_epochs([some_epoch(4)])
    for path in (tmp_path / "rescue").rglob("*.parquet"):
        target = tmp_path / "run" / path.relative_to(tmp_path / "rescue")
        assert not target.exists()
        path.rename(target)
    loaded = results.load(tmp_path / "run")
    assert sorted(loaded.epochs["epoch"].to_pylist()) == [1, 2, 3, 4]
    assert results.verify(tmp_path / "run") == []


def test_rows_that_come_together_are_those_that_come_one_by_one(tmp_path):
    one, many = (RunStore.create(tmp_path / name, {}, "") for name in ("one", "many"))
    for epoch in (1, 2, 3):
        one.add_epochs([some_epoch(epoch)])
    many.add_epochs([])  # also as the very first
    assert many.flush()
    many.add_epochs([some_epoch(1), some_epoch(2)])
    many.add_epochs([some_epoch(2, attempt=2), some_epoch(3)])
    many.add_epochs([])
    one.add_epochs([some_epoch(2, attempt=2)])
    one.close()
    many.close()
    first, second = (results.load(tmp_path / name).epochs for name in ("one", "many"))
    assert first.equals(second)
    assert first.num_rows == 3


def test_of_rows_that_come_together_those_before_a_wrong_one_are_kept(tmp_path):
    store = RunStore.create(tmp_path / "run", {}, "")
    with pytest.raises(ValueError, match="does not fit"):
        store.add_epochs([some_epoch(1), some_epoch(2) | {"lr": "high"}, some_epoch(3)])
    store.close()
    assert results.load(tmp_path / "run").epochs["epoch"].to_pylist() == [1]
