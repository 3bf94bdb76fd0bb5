"""`gradtune submit`: the words are checked here, and only then anything is sent."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT
from tuner import submit
from tuner.config.schema import ConfigError
from tuner.jobs.head import Job
from tuner.jobs.shipment import Shipment

HEAD = "address=http://head:8265"
RUNS = "runs_dir=/shared/runs"


@dataclass
class FakeHead:
    """Stands for the head of a cluster; what is sent to it, and what its jobs do."""

    address: str = "http://head:8265"
    is_open_accepted: bool = False
    sent: list[Shipment] = field(default_factory=list)
    known: list[Job] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    followed: Callable[[], int] = lambda: 0

    def submit(self, shipment: Shipment) -> str:
        self.sent.append(shipment)
        return shipment.job

    def follow(self, job: str) -> int:
        return self.followed()

    def find(self, job: str | None) -> Job:
        return self.known[0]

    def stop(self, job: str) -> bool:
        self.stopped.append(job)
        return True

    def status(self, job: str) -> str:
        return self.statuses.pop(0)


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> FakeHead:
    made = FakeHead()

    def connect(address: str, *, is_open_accepted: bool = False) -> FakeHead:
        made.address, made.is_open_accepted = address, is_open_accepted
        return made

    monkeypatch.setattr(submit, "Head", connect)
    return made


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader's folder, which is the working directory."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return folder


def words_of(shipment: Shipment) -> list[str]:
    return shlex.split(shipment.entrypoint)[3:]


def test_a_run_is_sent_under_a_name_that_is_known_before(
    head: FakeHead, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main([HEAD, "space=poly", RUNS]) == 0
    (sent,) = head.sent
    assert words_of(sent) == ["space=poly", RUNS, f"name={sent.job}"]
    assert sent.metadata["run"] == f"/shared/runs/{sent.job}"
    assert sent.folder == project
    printed = capsys.readouterr().out
    assert printed.startswith("ray job submit --address http://head:8265 --working-dir . ")
    for line in (
        f"job {sent.job} runs there: /shared/runs/{sent.job}",
        f"gradtune logs {HEAD} job={sent.job} follow=true",
        f"gradtune status {HEAD} job={sent.job}",
        f"gradtune stop {HEAD} job={sent.job}",
        f"gradtune submit {HEAD} resume=/shared/runs/{sent.job}",
    ):
        assert line in printed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        # As `python -m tuner.run` says it.
        (["space=pony", RUNS], "unknown space 'pony'; did you mean 'poly'?"),
        (["trails=3", RUNS], "unknown key 'trails'"),
        (["trials=0", RUNS], "trials=0"),
        (["spaces.poly.p.low=9", RUNS], "spaces.poly.p"),
        (["dataset.path=/nowhere", RUNS], "digits takes no dataset.path"),
        (["trainable=nothere:train", "lr=1", "batch.initial=4", "epochs=2", RUNS], "nothere"),
        (["resume=/nowhere/x", "trials=-1"], "trials=-1"),
        (["resume=/nowhere/x", "trials=+x"], "trials=+x"),
        (["resume=/nowhere/x", "epochs=3"], "epochs: cannot change when resuming"),
        (["--cofnig-dir", "x", RUNS], "unknown option"),
        # What a job cannot do.
        (["space=poly"], "runs_dir: give the absolute path of a folder that all nodes share"),
        (["runs_dir=runs"], "runs_dir=runs: give the absolute path"),
        (["resume=runs/x"], "resume=runs/x: give the absolute path"),
        (["runs_dir=s3://me:CANARY@b/x"], "runs_dir=s3://...: no user, password"),
        (["resume=s4://b/x"], "resume=s4://...: unknown storage; did you mean 's3'?"),
        (["cluster.address=auto", RUNS], "cluster.address: a job uses the cluster it runs on"),
        (["workload=cifar10_resnet18", "dataset.path=imgs", RUNS], "dataset.path=imgs: give the"),
        (["--cfg", RUNS], "--cfg"),
        # The submission's own.
        (["adress=http://h:8265", RUNS], "unknown key 'adress'; did you mean 'address'?"),
        (["folow=true", RUNS], "unknown key 'folow'; did you mean 'follow'?"),
        (["follow=maybe", RUNS], "follow=maybe: allowed is true | false"),
        (["env=conda", RUNS], "env=conda: allowed is cluster | pip | uv"),
        (["env=pip", RUNS], "constraints.txt: No such file"),
        (["cluster.auth=no", RUNS], "cluster.auth=no: "),
        (["address=auto", RUNS], "address=auto: write http://host:port"),
        (["dry_run=maybe", RUNS], "dry_run=maybe: "),
        (["resume=/nowhere/x", "tracking.uri=http://me:CANARY@h:1"], "the head keeps the words"),
    ],
)
def test_bad_words_are_one_line_and_nothing_is_sent(
    words: list[str],
    says: str,
    head: FakeHead,
    project: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    at = [] if any(word.startswith("address=") for word in words) else [HEAD]
    assert submit.main([*at, *words]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note")]
    assert len(said) == 1
    assert "CANARY" not in said[0]
    assert said[0].startswith("error: ")
    assert says in said[0]
    assert head.sent == []


@pytest.mark.parametrize("place", ["home", "linked", "parent", "root"])
def test_a_whole_home_is_not_sent(
    place: str,
    head: FakeHead,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    link = project.parent / "link"
    link.symlink_to(project)
    monkeypatch.setenv("HOME", str(link if place == "linked" else project))
    folders = {"parent": project.parent, "root": Path("/")}
    monkeypatch.chdir(folders.get(place, project))
    assert submit.main([HEAD, RUNS]) == 2
    assert "submit from your project's folder" in capsys.readouterr().err
    assert head.sent == []


@pytest.mark.parametrize("word", ["true", "yes", "1", "on"])
def test_a_dry_run_shows_the_line_and_talks_to_nobody(
    word: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(submit, "Head", lambda *a, **k: pytest.fail("talked to the cluster"))
    assert submit.main([HEAD, RUNS, "name=x", f"dry_run={word}"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].endswith(" -- python -m tuner.run runs_dir=/shared/runs name=x")
    assert "nothing was sent" in printed


def test_a_name_whose_job_could_not_start_may_be_typed_again(
    head: FakeHead, project: Path
) -> None:
    for _ in range(2):
        assert submit.main([HEAD, "name=x", RUNS]) == 0
    jobs = {sent.job for sent in head.sent}
    assert len(jobs) == 2  # ids, which Ray does not take twice
    assert all(job.startswith("x-") for job in jobs)
    assert {sent.metadata["run"] for sent in head.sent} == {"/shared/runs/x"}


def test_data_that_only_the_cluster_has_are_left_to_it_to_check(
    head: FakeHead, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = "dataset.path=/mnt/cifar"
    assert submit.main([HEAD, RUNS, "workload=cifar10_resnet18", path]) == 0
    assert path in words_of(head.sent[0])
    assert "the nodes are looked at" in capsys.readouterr().err


CODE = "def train(schedule, seed, report):\n    for e in range(2): report(val_accuracy=0.5)\n"
OWN = ["dataset.train_examples=60", "lr=0.1", "batch.initial=4", "epochs=2", RUNS]


def test_code_of_ones_own_is_sent_and_named_again_to_go_on(head: FakeHead, project: Path) -> None:
    (project / "minecluster.py").write_text(CODE)
    (project / "mine.yaml").write_text("family: poly\np: {low: 0.5, high: 2}\n")
    words = ["trainable=minecluster:train", "space=[poly,./mine.yaml]", "'exclude=[*.bin]'"[1:-1]]
    assert submit.main([HEAD, *words, *OWN, "cluster.auth=disabled"]) == 0
    (sent,) = head.sent
    assert head.is_open_accepted
    assert "*.bin" in sent.runtime_env["excludes"]
    # Its driver joins the same cluster.
    assert words_of(sent) == [*words[:2], *OWN, "cluster.auth=disabled", f"name={sent.job}"]
    again = [f"resume=/shared/runs/{sent.job}", *words[:2], "cluster.auth=disabled"]
    assert shlex.split(sent.metadata["again"]) == ["exclude=[*.bin]", *again]


@pytest.mark.parametrize("kind", ["module", "file", "space", "config-dir"])
def test_what_lies_outside_of_the_folder_cannot_be_sent(
    kind: str,
    head: FakeHead,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outside = project.parent / "outside"
    outside.mkdir()
    monkeypatch.syspath_prepend(outside)
    (outside / "faraway.py").write_text(CODE)
    (outside / "mine.yaml").write_text("family: poly\np: {low: 0.5, high: 2}\n")
    words = {
        "module": ["trainable=faraway:train", *OWN],
        "file": [f"trainable={outside}/faraway.py:train", *OWN],
        "space": [f"space={outside}/mine.yaml", RUNS],
        "config-dir": ["--config-dir", str(outside), RUNS],
    }[kind]
    assert submit.main([HEAD, *words]) == 2
    assert "lies outside of" in capsys.readouterr().err
    assert head.sent == []


def test_an_earlier_run_goes_on_in_a_job_of_another_name(head: FakeHead, project: Path) -> None:
    for _ in range(2):
        assert submit.main([HEAD, "resume=/shared/runs/x", "trials=+2"]) == 0
    first, second = head.sent
    assert words_of(first) == ["resume=/shared/runs/x", "trials=+2"]
    assert first.metadata["run"] == "/shared/runs/x"
    assert first.job.startswith("x-")
    assert first.job != second.job


def test_a_run_may_be_in_a_bucket_which_is_looked_at_there(
    head: FakeHead, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main([HEAD, "runs_dir=s3://team/runs/", "name=x"]) == 0
    assert submit.main([HEAD, "resume=s3://team/runs/x", "trials=+2"]) == 0
    first, second = head.sent
    assert first.metadata["run"] == second.metadata["run"] == "s3://team/runs/x"
    assert words_of(second) == ["resume=s3://team/runs/x", "trials=+2"]
    assert "it is checked on the cluster" in capsys.readouterr().err


@pytest.mark.fault("32", "jobs that end in each way: their exit code is that of who follows")
@pytest.mark.parametrize("code", [0, 1, 2, 143])
def test_who_follows_gets_the_exit_code_of_the_job(
    code: int, head: FakeHead, project: Path
) -> None:
    head.followed = lambda: code
    assert submit.main([HEAD, RUNS, "follow=true"]) == code


def test_ctrl_c_leaves_the_job_and_says_how_to_come_back(
    head: FakeHead, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> int:
        raise KeyboardInterrupt

    head.followed = interrupt
    assert submit.main([HEAD, RUNS, "name=x", "follow=true"]) == 130
    assert head.stopped == []
    said, job = capsys.readouterr().err, head.sent[0].job
    assert f"the job goes on. Come back with: gradtune logs {HEAD} job={job} follow=true" in said


def test_a_head_that_is_gone_is_told_with_both_ways_back(
    head: FakeHead, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose() -> int:
        raise ConfigError("address=http://head:8265: does not answer")

    head.followed = lose
    assert submit.main([HEAD, RUNS, "name=x", "follow=true"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: address=http://head:8265: does not answer"
    assert second == (
        f"come back with: gradtune logs {HEAD} job={head.sent[0].job} follow=true; if the head "
        "is gone, on another: gradtune submit address=... resume=/shared/runs/x"
    )


def make_job(**changes: Any) -> Job:
    about: dict[str, Any] = {
        "id": "x",
        "status": "RUNNING",
        "command": "gradtune run space=poly",
        "run": "/shared/runs/x",
        "again": "resume=/shared/runs/x",
        "begun": 0.0,
        "ended": None,
        "runtime_env": {},
    }
    return Job(**(about | changes))


@pytest.mark.fault("32", "stop: waited for, and how to go on is told")
def test_a_job_is_stopped_and_waited_for(
    head: FakeHead, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tuner.stop.time", SimpleNamespace(monotonic=lambda: 0.0, sleep=id))
    head.known, head.statuses = [make_job()], ["RUNNING", "RUNNING", "STOPPED"]
    assert submit.main([HEAD, "stop=x"]) == 0
    assert (head.stopped, head.statuses) == (["x"], [])
    back = f"Go on with: gradtune submit {HEAD} resume=/shared/runs/x"
    assert capsys.readouterr().out == f"job x is stopped; everything finished is kept. {back}\n"


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("RUNNING", "SUCCEEDED", "job x has ended by itself meanwhile (succeeded)\n"),
        ("PENDING", "STOPPED", "job x is stopped; everything finished is kept.\n"),
    ],
)
def test_where_there_may_be_no_run_to_go_on_with_none_is_named(
    before: str,
    after: str,
    says: str,
    head: FakeHead,
    capsys: pytest.CaptureFixture[str],
) -> None:
    head.known, head.statuses = [make_job(status=before)], [after]
    assert submit.main([HEAD, "stop=x"]) == 0
    assert capsys.readouterr().out == says


def test_a_job_that_has_ended_is_not_stopped(
    head: FakeHead, capsys: pytest.CaptureFixture[str]
) -> None:
    head.known = [make_job(status="SUCCEEDED")]
    assert submit.main([HEAD, "stop=x"]) == 0
    assert head.stopped == []
    assert capsys.readouterr().out == "job x has ended already (succeeded)\n"


def test_a_job_that_will_not_stop_is_an_error(
    head: FakeHead, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 20))
    fake = SimpleNamespace(monotonic=lambda: next(clock), sleep=id)
    monkeypatch.setattr("tuner.stop.time", fake)
    head.known, head.statuses = [make_job()], ["RUNNING"] * 9
    assert submit.main([HEAD, "stop=x"]) == 1
    assert "still RUNNING" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_its_help_says_what_it_takes(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert submit.main(words, program="gradtune submit") == (0 if words else 2)
    printed = capsys.readouterr().out
    assert all(f"{key}=" in printed for key in submit.OWN)
    assert "gradtune submit address=" in printed


@pytest.mark.slow
def test_a_whole_checkout_is_sent_with_its_commit() -> None:
    command = submit.read_command([RUNS])
    asked = submit.Asked(own={}, typed=[], run=[RUNS])
    sent = submit.make_shipment(asked, command, folder=ROOT)
    assert '"gradtune": {"sha": ' in sent.runtime_env["env_vars"]["GRADTUNE_SUBMITTED"]
