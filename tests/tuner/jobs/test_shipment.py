"""What goes to a cluster with a job, and what stays here."""

from __future__ import annotations

import json
import shlex
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tuner import version
from tuner.config.schema import ConfigError
from tuner.jobs.shipment import (
    ENVIRONMENTS,
    EXCLUDES,
    Shipment,
    largest_parts,
    pack,
    pinned_packages,
)

SECRETS = (
    *(".env", ".env.local", "deploy/.env", "key.pem", "deploy/tls.key", ".netrc", ".ssh/id_rsa"),
    *(".aws/credentials", ".git/config"),
)
OUTPUTS = ("data/cifar/batch", "runs/x/manifest.json", ".venv/bin/python", "a/__pycache__/b.pyc")
# As in our own tree: folders named data and results that are code.
CODE = ("mine.py", "results/data/f.json", "trainables/data/sources.py", "results/run.py", "env.py")


def make_folder(folder: Path) -> Path:
    for name in (*SECRETS, *OUTPUTS, *CODE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def send(shipment: Shipment, to: Path) -> set[str]:
    """The files that Ray itself makes a package of."""
    from ray._private.runtime_env.packaging import create_package

    create_package(
        str(shipment.folder),
        to / "package.zip",
        include_gitignore=True,
        excludes=list(shipment.runtime_env["excludes"]),
    )
    names = zipfile.ZipFile(to / "package.zip").namelist()
    return {name for name in names if not name.endswith("/")}


def make_shipment(folder: Path, **options: Any) -> Shipment:
    return pack(folder, ["space=poly", "name=x y"], job="x-1", run="/s/x", **options)


def test_secrets_and_outputs_stay_here_and_code_is_sent(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "project")
    assert send(make_shipment(folder), tmp_path) == {*CODE}


def test_more_can_be_left_here(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "project")
    sent = send(make_shipment(folder, exclude=["*.json", "/trainables/"]), tmp_path)
    assert sent == {"mine.py", "results/run.py", "env.py"}


def test_the_ray_command_does_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own command line, with a client that notes what it is asked for."""
    from click.testing import CliRunner
    from ray.dashboard.modules.job import cli

    asked: dict[str, Any] = {}

    class Client:
        def submit_job(self, **options: Any) -> str:
            asked.update(options)
            return "x"

        def get_version(self) -> str:
            return "0"

    monkeypatch.setattr(cli, "_get_sdk_client", lambda *address, **options: Client())
    monkeypatch.chdir(tmp_path)
    shipment = make_shipment(tmp_path)
    words = shlex.split(shipment.as_ray_command("http://head:8265"))
    assert words[:3] == ["ray", "job", "submit"]
    done = CliRunner().invoke(cli.job_cli_group, words[2:])
    assert done.exit_code == 0, done.output
    assert shlex.split(asked["entrypoint"]) == [
        *("python", "-m", "tuner.run", "space=poly", "name=x y")
    ]
    assert asked["submission_id"] == "x-1"
    assert asked["metadata"] == shipment.metadata
    sent = dict(asked["runtime_env"])
    assert Path(sent.pop("working_dir")).resolve() == tmp_path.resolve()
    assert sent == {k: v for k, v in shipment.runtime_env.items() if k != "working_dir"}


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_packages_are_those_of_the_constraints_without_ray(tool: str) -> None:
    packages = make_shipment(ROOT, environment=tool).runtime_env[tool]["packages"]
    assert set(packages) <= set((ROOT / "constraints.txt").read_text().splitlines())
    names = {package.partition("==")[0].lower() for package in packages}
    assert {"torch", "optuna", "pyarrow", "pyyaml", "scikit-learn"} <= names
    assert names.isdisjoint({"ray", "pytest", "ruff", "transformers"})


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_ray_takes_the_environment_as_it_is(environment: str) -> None:
    from ray.runtime_env import RuntimeEnv

    wanted = dict(make_shipment(ROOT, environment=environment).runtime_env)
    wanted["working_dir"] = "gcs://_ray_pkg_0123456789abcdef.zip"  # once it is there
    taken = RuntimeEnv(**wanted)
    assert taken["env_vars"] == wanted["env_vars"]
    if environment != "cluster":
        assert taken[environment]["packages"] == wanted[environment]["packages"]


def test_what_the_cluster_has_is_left_to_it() -> None:
    assert {"pip", "uv"}.isdisjoint(make_shipment(ROOT).runtime_env)


def test_constraints_that_are_missing_or_lack_a_package_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^env=pip\|uv: .*constraints\.txt: No such file"):
        make_shipment(tmp_path, environment="pip")
    (tmp_path / "constraints.txt").write_text("torch==2.11.0\nnumpy>=2\n")
    with pytest.raises(ConfigError, match=r"pins no torchvision, optuna, .*numpy"):
        pinned_packages(tmp_path / "constraints.txt")


def test_the_largest_parts_are_those_that_are_sent(tmp_path: Path) -> None:
    for name, megabytes in (("data/x", 9), ("model.bin", 3), ("notes/y", 2), ("a.py", 0)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with (tmp_path / name).open("wb") as file:
            file.truncate(megabytes << 20)
    assert largest_parts(tmp_path) == "model.bin 3 MB, notes 2 MB, a.py 0 MB"
    assert largest_parts(tmp_path, ["*.bin", "/data/"]) == "notes 2 MB, a.py 0 MB"


def copy_of_job(folder: Path) -> Path:
    """Where Ray unpacks what was sent."""
    copy = folder / "session_2026" / "runtime_resources" / "working_dir_files" / "_ray_pkg_0123"
    copy.mkdir(parents=True)
    return copy


def commit(folder: Path) -> str:
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = ["git", "-C", str(folder), *who, *words]
        return subprocess.run(done, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "x", "--no-verify")
    return git("rev-parse", "HEAD")


def test_the_commit_is_noted_for_the_copy_that_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, copy = tmp_path / "project", copy_of_job(tmp_path)
    project.mkdir()
    for folder in (project, copy):
        (folder / "mine.py").write_text("")
    sha = commit(project)
    (project / "mine.py").write_text("changed = True\n")
    noted = make_shipment(project).runtime_env["env_vars"][version.SUBMITTED]
    assert version.git_state(copy) == {}
    monkeypatch.setenv(version.SUBMITTED, noted)
    assert version.git_state(tmp_path) == {}  # not of this job
    assert version.git_state(copy) == {"sha": sha, "dirty": True}
    assert version.git_state(project)["sha"] == sha  # a checkout speaks for itself


def test_of_a_sent_checkout_version_and_revision_are_those_of_the_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = json.loads(version.noted_for_job(ROOT))
    assert noted["gradtune"] == version.revision()
    copy = copy_of_job(tmp_path) / "tuner"
    copy.mkdir()
    monkeypatch.setattr(version, "HERE", copy)
    monkeypatch.setattr(version, "RECORDED", copy / "revision.json")
    assert version.revision() == {}
    monkeypatch.setenv(version.SUBMITTED, json.dumps(noted))
    assert version.revision() == noted["gradtune"]
    monkeypatch.setenv(version.SUBMITTED, "no JSON")
    assert version.revision() == {}


@pytest.mark.slow
def test_patterns_are_anchored_where_our_own_code_has_such_names() -> None:
    folders = {path.name for path in ROOT.rglob("*") if path.is_dir() and path.parent != ROOT}
    code = {"data", "results", "runs"} & folders
    assert "data" in code
    assert code.isdisjoint(EXCLUDES)
