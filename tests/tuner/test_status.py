"""`gradtune status` and `gradtune logs`: of runs here, and of jobs on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from results.records.store import RunStore
from tests.fakes.results import make_space, make_trial, write_run, write_trial
from tests.fakes.storage.bucket import use_bucket
from tests.tuner.test_submit import make_job
from tuner import logs, status
from tuner.jobs.head import Job


@dataclass
class FakeHead:
    """Jobs of a cluster; `looked`: commands that were run there to look."""

    address: str = "http://head:8265"
    known: list[Job] = field(default_factory=list)
    looked: list[tuple[str, Any]] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    followed: Callable[[], None] = lambda: None

    def jobs(self) -> list[Job]:
        return self.known

    def find(self, job: str | None) -> Job:
        return next(each for each in self.known if job in (None, each.id))

    def look(self, entrypoint: str, runtime_env: Any) -> str:
        self.looked.append((entrypoint, runtime_env))
        return "looking"

    def follow(self, job: str) -> int:
        print(f"<{job}>")
        self.followed()
        return 0

    def forget(self, job: str) -> None:
        self.forgotten.append(job)

    def printed(self, job: str) -> str:
        return f"all of {job}\n"


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> FakeHead:
    made = FakeHead()
    for module in (status, logs):
        monkeypatch.setattr(module, "Head", lambda *address, **options: made)
    return made


def test_runs_are_told_one_below_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, trials=2)
    assert status.main([f"{tmp_path}/*"]) == 0
    printed = capsys.readouterr().out
    assert [n for n in ("a", "b") if f"{tmp_path}/{n}: completed" in printed] == ["a", "b"]
    assert printed.count("space  ") == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "'nowhere' does not exist"),
        (["adress=http://head:8265"], "unknown key 'adress'; did you mean 'address'?"),
        ([], "address: give the head's dashboard"),
        (["x", "address=http://head:8265"], "name runs or address=, not both"),
        (["x", "job=y"], "name runs or address=, not both"),
        (["address=head"], "address=head: write http://host:port"),
    ],
)
@pytest.mark.parametrize("command", [status, logs])
def test_mistakes_are_one_line(
    command: Any,
    words: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    try:
        code = command.main(words)
    except SystemExit as error:
        code = error.code
    assert code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    if not (command is logs and "not both" in says):
        assert says in said


def test_the_jobs_of_a_cluster_are_a_line_each_and_others_are_left_out(
    head: FakeHead, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status.time, "time", lambda: 1000.0)
    head.known = [
        make_job(id="new", begun=875.0),
        make_job(id="newer", begun=900.0),
        make_job(id="old", status="FAILED", begun=0.0, ended=940.0),
        make_job(id="theirs", run=None),
    ]
    assert status.main(["address=http://head:8265"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "job new: running for 2 min 05 s: gradtune run space=poly",
        "job newer: running for 1 min 40 s: gradtune run space=poly",
        "job old: failed 1 min 00 s ago: gradtune run space=poly",
    ]
    head.known = [make_job(command="gradtune \x1b[2J", status="FAILED")]
    assert status.main(["address=http://head:8265"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    head.known = []
    assert status.main(["address=http://head:8265"]) == 0
    assert capsys.readouterr().out.startswith("no job was submitted there")


def test_of_a_job_whose_folder_is_at_hand_the_records_are_read_here(
    head: FakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "x", trials=2)
    head.known = [make_job(run=str(run))]
    assert status.main(["address=http://head:8265", "job=x"]) == 0
    assert f"{run}: completed" in capsys.readouterr().out
    assert head.looked == []


def test_of_any_other_job_they_are_read_where_they_are(
    head: FakeHead, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = {"working_dir": "gcs://_ray_pkg_1.zip"}
    head.known = [replace(make_job(run="/not/here x"), runtime_env=sent)]
    assert status.main(["address=http://head:8265"]) == 0
    assert head.looked == [("python -m tuner.status '/not/here x' starting=true", sent)]
    assert head.forgotten == ["looking"]
    assert "<looking>" in capsys.readouterr().out
    head.followed = interrupt
    with pytest.raises(KeyboardInterrupt):
        status.print_jobs(head, None)
    assert head.forgotten == ["looking"] * 2


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("made", [True, False])
def test_a_job_whose_run_is_not_there_yet_is_starting(
    made: bool, head: FakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "x"
    if made:
        run_dir.mkdir()
        head.known = [make_job(run=str(run_dir))]
        assert status.main(["address=http://head:8265"]) == 0
    else:  # as it looks where the folder is
        assert status.main([str(run_dir), "starting=true"]) == 0
    assert f"{run_dir}: is starting; nothing is recorded yet\n" in capsys.readouterr().out
    assert status.main([str(run_dir)]) == 2


def test_jobs_that_run_are_told_however_many_have_ended(
    head: FakeHead, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = [make_job(id=f"e{n}", status="FAILED", ended=1.0) for n in range(30)]
    head.known = [*ended, make_job(id="a"), make_job(id="b")]
    assert status.main(["address=http://head:8265"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("failed") == status.NUM_JOBS
    assert printed.count("running") == 2


def test_the_logs_of_several_runs_are_not_those_of_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, trials=2)
    assert logs.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: logs: name one run; these are 2\n"
    assert logs.main([str(tmp_path / "a"), "follow=true"]) == 2


@pytest.fixture
def printing_run(tmp_path: Path) -> Path:
    """Two trainings, of which one has printed two lines and an escape sequence."""
    run_dir = tmp_path / "x"
    manifest = {"spaces": [make_space("poly").to_dict()], "config": {}}
    with RunStore.create(run_dir, manifest, "") as store:
        for p in (0.5, 0.7):
            write_trial(store, make_trial(params={"p": p}))
    key = make_trial(params={"p": 0.5}).trial_key
    (run_dir / "logs").mkdir()
    (run_dir / "logs" / f"{key}.txt").write_text("first\n\x1b[2Jlast\n\n")
    return run_dir


def test_logs_are_listed_by_their_last_line(
    printing_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert logs.main([str(printing_run)]) == 0
    key = make_trial(params={"p": 0.5}).trial_key
    assert capsys.readouterr().out == f"{key}  poly search 0, completed: ?[2Jlast\n"


def test_a_log_is_printed_whole_and_moves_no_cursor(
    printing_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = make_trial(params={"p": 0.5}).trial_key
    assert logs.main([str(printing_run), key[:6]]) == 0
    assert capsys.readouterr().out == "first\n?[2Jlast\n\n"
    assert logs.main([str(printing_run), make_trial(params={"p": 0.7}).trial_key]) == 2
    assert "has printed nothing" in capsys.readouterr().err


def test_a_run_in_a_bucket_is_told_as_one_here(
    printing_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    key = make_trial(params={"p": 0.5}).trial_key
    use_bucket(monkeypatch, tmp_path / "cache").upload(printing_run, "b/runs/x")
    assert status.main(["s3://b/runs/x"]) == 0
    assert capsys.readouterr().out.startswith("run s3://b/runs/x: ")
    assert logs.main(["s3://b/runs/x"]) == 0
    assert capsys.readouterr().out == f"{key}  poly search 0, completed: ?[2Jlast\n"
    assert logs.main(["s3://b/runs/x", key]) == 0
    assert capsys.readouterr().out == "first\n?[2Jlast\n\n"


@pytest.mark.parametrize("command", [status, logs])
def test_a_bucket_that_cannot_be_read_is_one_line(
    command: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(kind: str, path: str) -> None:
        raise OSError("AWS Error NO_SUCH_BUCKET")

    use_bucket(monkeypatch, tmp_path / "cache").fails = fail
    assert command.main(["s3://b/runs/x"]) == 2
    assert capsys.readouterr().err == "error: s3://b/runs/x: no such bucket\n"


def test_of_a_job_all_that_it_printed_or_what_it_prints(
    head: FakeHead, capsys: pytest.CaptureFixture[str]
) -> None:
    head.known = [make_job()]
    assert logs.main(["address=http://head:8265"]) == 0
    assert capsys.readouterr().out == "all of x\n"
    assert logs.main(["address=http://head:8265", "job=x", "follow=true"]) == 0
    assert capsys.readouterr().out == "<x>\n"
