"""The whole command where containers, clusters and odd machines put it: it works, or says why not.

Mounts and users are those of name spaces, which end with the command; without the right to make
them these tests are skipped.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import results
from tests.conftest import ROOT, ClusterProcess
from tests.fakes.losses import ENTROPY
from tests.faults.counts import only_full

COMMAND = (sys.executable, "-m", "tuner.run")
WORDS = (
    *("trainable=tests.fakes.losses:fall", "objective=val_loss", "space=poly", "trials=2"),
    *("dataset.train_examples=64", "lr=0.1", "batch.initial=8", "epochs=3", "confirm.seeds=2"),
    *("report=false", "display=plain", "max_concurrent=1"),  # each worker imports torch
)
DEAD_PROXY = "http://127.0.0.1:9"
PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")
SMALL_DISK = "mount -t tmpfs -o size={}m tmpfs {};"
UNKNOWN_USER = ("unshare", "--user", "--map-user=12345")


def may_mount() -> bool:
    """Whether this process may make name spaces for users and mounts."""
    with contextlib.suppress(OSError):
        for command in (["unshare", "--mount", "true"], [*UNKNOWN_USER, "true"]):
            if subprocess.run(command, capture_output=True).returncode:
                return False
        return True
    return False


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not may_mount(), reason="needs the right to make name spaces"),
]


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path a socket may begin with; pytest's are too long for it."""
    folder = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def alone() -> dict[str, str]:
    """The environment without the token of the tests' cluster."""
    kept = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN"}
    return kept | {"PYTHONPATH": str(ROOT)}


def run(
    *words: str, mounts: str = "", before: tuple[str, ...] = (), cwd: Path = ROOT, **env: str
) -> subprocess.CompletedProcess[str]:
    """`python -m tuner.run` in a mount space of its own.

    Args:
        mounts: shell commands that prepare it. before: commands that the command goes through.
    """
    space = ("unshare", "--mount", "bash", "-c", f'{mounts}\nexec "$@"', "-")
    return subprocess.run(
        [*space, *before, *COMMAND, *words],
        cwd=cwd,
        env=alone() | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )


def check_finished(done: subprocess.CompletedProcess[str], run_dir: Path) -> None:
    """Ended well, in that folder, with every row."""
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(run_dir.name)
    run = results.load(run_dir)
    assert {row["status"] for row in run.rows()} == {"completed"}
    assert len(run.rows()) == 6
    assert min(run.epochs["val_loss"].to_pylist()) >= ENTROPY


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a command that was refused before anything started."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@only_full
@pytest.mark.fault("surroundings", "container: unknown user without HOME, small /dev/shm: works")
def test_a_container_with_a_random_user_no_home_and_little_shared_memory(short: Path) -> None:
    (short / "full").mkdir()
    done = run(
        *WORDS,
        f"runs_dir={short}",
        "name=run",
        mounts=SMALL_DISK.format(64, "/dev/shm") + SMALL_DISK.format(3, short / "full"),
        before=(*UNKNOWN_USER, "env", "-u", "HOME"),
        TMPDIR=str(short / "full"),
    )
    check_finished(done, short / "run")
    assert done.stderr.splitlines()[0].startswith(f"note: TMPDIR={short}/full: only ")


@only_full
@pytest.mark.fault("surroundings", "long TMPDIR, proxy, one CPU, 256 files, LC_ALL=C: works")
def test_a_node_of_a_cluster_with_a_proxy_one_cpu_and_few_files(short: Path) -> None:
    deep = short / ("scratch" * 12)
    deep.mkdir()
    done = run(
        *WORDS,
        f"runs_dir={short}",
        "name=run",
        before=("taskset", "-c", "0", "prlimit", "--nofile=256", "--"),
        TMPDIR=str(deep),
        RAY_AUTH_MODE="disabled",
        LC_ALL="C",
        **{name: DEAD_PROXY for proxy in PROXIES for name in (proxy, proxy.upper())},
    )
    check_finished(done, short / "run")
    assert f"note: TMPDIR={deep}: its path is too long for a socket" in done.stderr
    assert "note: RAY_AUTH_MODE=disabled: not followed" in done.stderr
    manifest = json.loads((short / "run" / "manifest.json").read_text())
    assert manifest["slots"]["max_concurrent"] == 1


@only_full
@pytest.mark.fault("surroundings", "HOME read-only, the folder of Ray another user's: works")
def test_a_home_that_is_read_only_and_a_ray_folder_of_another_user(short: Path) -> None:
    (short / "ray").mkdir()
    os.chown(short / "ray", 12345, 12345)
    done = run(*WORDS, f"runs_dir={short}", "name=run", HOME="/proc", RAY_TMPDIR=str(short))
    check_finished(done, short / "run")
    assert done.stderr == ""
    assert (short / "ray-0").is_dir()
    assert list((short / "ray").iterdir()) == []
    assert list((short / "ray-0").glob("auth_token*")) == []


@only_full
@pytest.mark.fault("surroundings", "folders with odd names: run, paste what was printed, resume")
def test_folders_may_be_called_anything_and_what_is_printed_can_be_pasted(short: Path) -> None:
    folder, name = short / "it's (1) [x]", "~ a=b \u00e9\u4e2d $(touch x)"
    folder.mkdir()
    done = run(*WORDS, f"runs_dir={name}", "name=run", cwd=folder)
    check_finished(done, folder / name / "run")
    (line,) = [line for line in done.stdout.splitlines() if "# search on" in line]
    line = line.strip().replace("python", shlex.quote(sys.executable), 1).replace("+10", "+1")
    pasted = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=alone(), capture_output=True, text=True
    )
    assert pasted.returncode == 0, pasted.stderr
    rows = results.load(folder / name / "run").rows()
    assert sum(row["role"] == "search" for row in rows) == 3
    assert not (folder / "x").exists()


@pytest.mark.fault("surroundings", "project read-only: one line, and another runs_dir works")
@pytest.mark.parametrize("goes_on", [False, pytest.param(True, marks=only_full)])
def test_a_read_only_project_is_one_line_and_another_runs_dir_works(
    short: Path, goes_on: bool
) -> None:
    project, runs = short / "project", short / "runs"
    project.mkdir()
    runs.mkdir()
    mounts = f"mount --bind {project} {project}; mount -o remount,ro,bind {project}; cd {project}"
    if goes_on:
        done = run(*WORDS, f"runs_dir={runs}", "name=run", mounts=mounts)
        check_finished(done, runs / "run")
        return
    why = "Read-only file system; runs_dir=DIR names another"
    assert refusal(run(*WORDS, mounts=mounts)) == f"error: runs_dir=runs: not writable: {why}\n"


@pytest.mark.fault("surroundings", "a folder that is not UTF-8: one line")
@pytest.mark.parametrize("place", ["runs_dir", "cwd", "--config-dir", "dataset.path"])
def test_a_folder_that_is_not_utf_8_is_one_line(place: str, short: Path) -> None:
    folder = short / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    words = {"cwd": (), "--config-dir": ("--config-dir", str(folder))}
    given = words.get(place, (f"{place}={folder}",))
    done = run(*WORDS, *given, cwd=folder if place == "cwd" else ROOT)
    said = refusal(done)
    assert "caf\\udce9" in said
    assert said.endswith("': is no UTF-8 text; rename it\n")


@pytest.mark.fault("surroundings", "no place for temporary files: one line names them all")
def test_without_any_place_for_temporary_files_one_line_names_them_all(short: Path) -> None:
    read_only = ("/var/tmp", "/dev/shm")
    mounts = [f"{SMALL_DISK.format(1, place)} mount -o remount,ro {place};" for place in read_only]
    # /tmp itself is needed for the command.
    full = [Path("/tmp/ray"), Path(f"/tmp/ray-{os.getuid()}")]
    made = [folder for folder in full if not folder.exists()]
    mounts += [f"mkdir -p {folder}; {SMALL_DISK.format(2, folder)}" for folder in full]
    done = run(*WORDS, f"runs_dir={short}", mounts="".join(mounts), TMPDIR="/nowhere")
    for folder in made:
        folder.rmdir()
    said = refusal(done)
    assert said.startswith(
        "error: no folder for Ray's sockets and logs (TMPDIR=/nowhere: No such file or directory; "
        "/tmp: only 2 MB are free; /var/tmp: Read-only file system; /dev/shm: Read-only file"
    )
    assert "set RAY_TMPDIR to a writable one whose path has at most" in said


@only_full
@pytest.mark.fault("surroundings", "a proxy between a run and its cluster: works")
def test_a_proxy_does_not_hide_a_living_cluster(cluster: ClusterProcess, tmp_path: Path) -> None:
    where = (f"runs_dir={tmp_path}", "name=run", f"cluster.address={cluster.address}")
    done = subprocess.run(
        [*COMMAND, *WORDS, *where],
        cwd=ROOT,
        env=os.environ | dict.fromkeys(PROXIES, DEAD_PROXY),
        capture_output=True,
        text=True,
        timeout=600,
    )
    check_finished(done, tmp_path / "run")


@only_full
@pytest.mark.fault("surroundings", "stdin, stdout and stderr closed: works")
def test_closed_streams_are_no_reason_to_stop(short: Path) -> None:
    command = shlex.join([*COMMAND, *WORDS, f"runs_dir={short}", "name=run"])
    done = subprocess.run(["bash", "-c", f"{command} <&- >&- 2>&-"], cwd=ROOT, env=alone())
    assert done.returncode == 0
    assert len(results.load(short / "run").rows()) == 6
