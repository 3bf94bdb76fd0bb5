"""Canaries: passwords of the command line and of the environment are in no file and no output."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import results
from results.__main__ import main as results_main
from tests.commands.command import SMALL
from tests.conftest import ROOT
from tests.fakes.tune_loop import Inline
from tests.faults.counts import only_full
from tuner.display.summary import resume_command

pytestmark = [
    pytest.mark.slow,  # each trains
    pytest.mark.fault("security", "passwords and keys: in no record, log, report or line"),
]

CANARY = "c4n4ry"
ENVIRONMENT = {
    **{"AWS_ACCESS_KEY_ID": f"{CANARY}-id-1", "AWS_SECRET_ACCESS_KEY": f"{CANARY}/secret+2"},
    **{"AWS_SESSION_TOKEN": f"{CANARY}-session-3", "WANDB_API_KEY": f"{CANARY}-wandb-4"},
    **{"MLFLOW_TRACKING_PASSWORD": f"{CANARY}-mlflow-5", "HF_TOKEN": f"{CANARY}-hub-6"},
}
URI = f"http://me:{CANARY}-uri@127.0.0.1:9/x?sig={CANARY}-query"
# A client that cannot connect, and says everything it knows.
TALKATIVE = """
import os, sys
class MlflowClient:
    def __init__(self, uri):
        print("connecting to", uri)
        print("password", os.environ["MLFLOW_TRACKING_PASSWORD"], file=sys.stderr)
        raise ConnectionError(f"no answer from {uri}: {os.environ['AWS_SECRET_ACCESS_KEY']}")
entities = None
"""
FAILING = f"""
import os
def train(schedule, seed, report):
    raise OSError("cannot read {URI} with " + os.environ["AWS_SECRET_ACCESS_KEY"] + "\\x1b[2J")
"""


@pytest.fixture(autouse=True)
def canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def places(folder: Path) -> list[Path]:
    """Files with a canary in them or in their names."""
    return [
        path
        for path in folder.rglob("*")
        if CANARY in path.name
        or (path.is_file() and not path.is_socket() and CANARY.encode() in path.read_bytes())
    ]


@pytest.mark.full
def test_a_tracked_run_keeps_no_password(
    inline: Inline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "mlflow.py").write_text(TALKATIVE)
    monkeypatch.syspath_prepend(tmp_path / "client")
    monkeypatch.setattr("tuner.recording.tracking.CLOSE_SECONDS", 60.0)  # it imports for some s
    where = ("track=[mlflow]", f"tracking.uri={URI}")
    done = inline.run(*SMALL, "trials=1", "name=tracked", "report=true", *where)
    assert done.returncode == 0, done.stderr
    run_dir = tmp_path / "tracked"
    log = (run_dir / "tracking" / "mlflow.log").read_text()
    assert "connecting to http://***@127.0.0.1:9/x?***" in log  # the tracker itself had it
    assert "warning: track=mlflow: no answer from http://***@127.0.0.1:9/x?***" in done.stderr
    assert (run_dir / "report.html").exists()
    assert places(run_dir) == []
    assert CANARY not in done.stdout + done.stderr
    run = results.load(run_dir)
    (manifest,) = run.manifests.values()
    assert manifest["config"]["tracking"]["uri"] == "http://***@127.0.0.1:9/x?***"
    assert "tracking.uri=http://***@" in manifest["command"]
    assert "tracking.uri=http://***@" in resume_command(run_dir, manifest).replace("'", "")
    # Nor does it go on without it, in silence.
    again = inline.run(f"resume={run_dir}", "trials=+1", "track=[]")
    assert "note: this run had tracking.uri=http://***@127.0.0.1:9/x?***" in again.stderr
    assert results_main(["compare", str(run_dir), "--no-plots"]) == 0


def test_a_failed_training_tells_no_password(inline: Inline, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FAILING)
    done = inline.run(
        *(f"trainable={tmp_path / 'mine.py'}:train", "dataset.train_examples=60", "lr=0.1"),
        *("batch.initial=10", "epochs=1", "trials=2", "confirm.seeds=1", "name=failed"),
        *("display=plain", "baseline=false"),
    )
    assert done.returncode == 1
    assert r"OSError: cannot read http://***@127.0.0.1:9/x?*** with *** (" in done.stdout
    assert CANARY not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert places(tmp_path / "failed") == []


@pytest.mark.parametrize(
    "words",
    [
        (f"tracking.uri={URI}",),  # has no effect
        (f"cluster.address=me:{CANARY}@host:1",),
        (f"cluster.address={URI}",),
        (f"dataset.path={URI}", "dataset=cifar10", "model=resnet20"),
        (f"space={URI}",),
        (f"name={URI}",),
        (f"my.secret={CANARY}",),
    ],
)
def test_a_mistake_is_told_without_the_password(inline: Inline, words: tuple[str, ...]) -> None:
    done = inline.run(*words)
    assert done.returncode == 2
    assert CANARY not in done.stdout + done.stderr


def test_the_configuration_is_printed_without_the_password(inline: Inline) -> None:
    done = inline.run("--cfg", "track=[mlflow]", f"tracking.uri={URI}")
    assert done.returncode == 0
    assert "uri: http://***@127.0.0.1:9/x?***" in done.stdout
    assert CANARY not in done.stdout


@only_full
def test_ray_writes_no_key_into_its_logs(tmp_path: Path) -> None:
    # Tune hands AWS_* to its workers in a text that runtime_env_agent.log then holds.
    folder = Path(tempfile.mkdtemp(prefix="gt", dir="/tmp"))  # short: sockets lie in it
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    environment.pop("RAY_AUTH_TOKEN", None)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tuner.run", *SMALL, "trials=1", "confirm.seeds=1",
             "baseline=false", "report=false", f"runs_dir={tmp_path / 'runs'}"],
            cwd=ROOT,
            env=environment | {"RAY_TMPDIR": str(folder), "HOME": str(tmp_path)},
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (session,) = (folder / "ray").glob("session_2*")
        assert (session / "logs" / "runtime_env_agent.log").exists()
        assert places(session) == []
        token = tmp_path / ".ray" / "auth_token"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert len(token.read_text()) == 64  # made, although RAY_AUTH_MODE=disabled was set
        assert places(tmp_path / "runs") == []
        assert CANARY not in done.stdout + done.stderr
    finally:
        shutil.rmtree(folder, ignore_errors=True)
