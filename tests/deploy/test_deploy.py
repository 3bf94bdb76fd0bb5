"""The files of deploy/: every command in them is read by the program that would run it."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tuner.config.compose import compose, read_keys
from tuner.plan.plan import make_plan
from tuner.run import read_command

DEPLOY = ROOT / "deploy"
CLOUDS = ("aws", "gcp")
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if "==" in line
)


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def check_ray_start(command: str) -> dict[str, Any]:
    """What Ray's own command line makes of a `ray start ...`; raises for what it does not know."""
    from ray.scripts.scripts import start

    words = shlex.split(command)
    assert words[:2] == ["ray", "start"]
    context = start.make_context("start", words[2:], resilient_parsing=False)
    return dict(context.params)


def check_run(words: list[str]) -> None:
    """The words of `python -m tuner.run`; a new run is planned."""
    command = read_command(words)
    assert command.given.pop("cluster.address", "auto")
    if "resume" in command.given:
        read_keys({k: v for k, v in command.given.items() if k != "resume"})
    else:
        assert make_plan(compose(command.given)).num_trials


def tuner_commands(script: str) -> Iterator[list[str]]:
    for found in re.finditer(r"python -m tuner\.run ([^;\n']*)", " ".join(script.split())):
        yield shlex.split(found[1])


def test_every_file_is_told_in_the_readme_and_covered_here() -> None:
    names = {path.name for path in DEPLOY.iterdir()} - {"README.md", "Dockerfile.dockerignore"}
    assert names == {
        "Dockerfile",
        "compose.yaml",
        "aws.yaml",
        "gcp.yaml",
        "rayjob.yaml",
        "slurm.sh",
    }
    told = (DEPLOY / "README.md").read_text()
    assert all(f"({name})" in told for name in names)


@pytest.mark.parametrize("name", [path.name for path in DEPLOY.iterdir()])
def test_no_file_gives_up_tokens_or_opens_the_dashboard(name: str) -> None:
    text = (DEPLOY / name).read_text()
    assert "RAY_AUTH_MODE=disabled" not in text
    assert not re.search(r"RAY_AUTH_TOKEN[=:] *[0-9a-f]{8}", text)
    if name in ("aws.yaml", "gcp.yaml"):
        assert "--dashboard-host=127.0.0.1" in text


@pytest.mark.parametrize("cloud", CLOUDS)
def test_cluster_files_follow_the_launchers_own_schema(cloud: str) -> None:
    import jsonschema
    import ray

    config = read(f"{cloud}.yaml")
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(config, json.loads(schema.read_text()))
    types = config["available_node_types"]
    assert set(config) >= {"head_node_type", "max_workers", "head_start_ray_commands"}
    assert config["head_node_type"] in types
    assert types["head"]["resources"]["CPU"] == 0
    assert config["provider"]["type"] == cloud


def test_heads_stay_and_workers_are_spot_machines() -> None:
    aws, gcp = (read(f"{cloud}.yaml")["available_node_types"] for cloud in CLOUDS)
    assert "InstanceMarketOptions" not in aws["head"]["node_config"]
    assert aws["worker"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "scheduling" not in gcp["head"]["node_config"]
    assert {"provisioningModel": "SPOT"} in gcp["worker"]["node_config"]["scheduling"]


@pytest.mark.slow
@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_launchers_commands_are_rays(cloud: str) -> None:
    config = read(f"{cloud}.yaml")
    for kind, is_head in (("head", True), ("worker", False)):
        line = config[f"{kind}_start_ray_commands"][1]
        assert "RAY_AUTH_MODE=token" in line
        options = check_ray_start(line[line.index("ray start") :])
        assert options["head"] is is_head
        subprocess.run(["bash", "-n", "-c", line], check=True)
    for line in [*config["setup_commands"], *config["head_setup_commands"]]:
        subprocess.run(["bash", "-n", "-c", line], check=True)


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "compose.yaml"])
def test_the_commands_of_the_comments_are_what_submit_takes(name: str) -> None:
    comments = "\n".join(re.findall(r"^# ?(.*)$", (DEPLOY / name).read_text(), re.M))
    (line,) = re.findall(r"gradtune submit (.*)", re.sub(r"\\\n\s*", "", comments))
    words = [word for word in shlex.split(line) if not word.startswith("address=")]
    check_run(words)


def test_compose_has_a_head_that_decides_and_two_nodes_that_share_a_folder() -> None:
    config = read("compose.yaml")
    head, *nodes = config["services"].values()
    assert len(nodes) == 2
    assert check_ray_start(head["command"])["num_cpus"] == 0
    assert all(check_ray_start(node["command"])["address"] == "head:6379" for node in nodes)
    assert {name.partition(":")[0] for s in (head, *nodes) for name in s["volumes"]} == {"shared"}
    assert head["ports"] == ["127.0.0.1:8265:8265"]
    for service in (head, *nodes):
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        (secret,) = service["secrets"]
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == f"/run/secrets/{secret}"
        assert secret in config["secrets"]


def test_the_kubernetes_job_goes_on_where_it_was() -> None:
    claim, job = yaml.safe_load_all((DEPLOY / "rayjob.yaml").read_text())
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = spec["rayClusterSpec"]
    assert str(cluster["rayVersion"]) == PINS["ray"]
    assert cluster["authOptions"] == {"mode": "token"}
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        (volume,) = pod["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        (mount,) = pod["containers"][0]["volumeMounts"]
        assert mount == {"name": volume["name"], "mountPath": "/shared/runs"}
    assert groups[0]["rayStartParams"]["num-cpus"] == "0"
    subprocess.run(["bash", "-n", "-c", spec["entrypoint"]], check=True)
    again, new = tuner_commands(spec["entrypoint"])
    check_run(new)
    check_run(again)
    assert "name=poly" in new
    assert again[0] == "resume=/shared/runs/poly"


def test_the_image_holds_what_the_package_needs_and_no_secret() -> None:
    lines = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text()).splitlines()
    steps = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    kinds = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "CMD"}
    assert {kind for kind, _ in steps} == kinds
    copied = [name for kind, rest in steps if kind == "COPY" for name in rest.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    packages = {"search_spaces", "trainables", "results", "tuner"}
    assert packages | {"pyproject.toml", "setup.py", "constraints.txt"} <= set(copied)
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert sent[0] == "*"
    assert {line[1:] for line in sent if line.startswith("!")} == set(copied)
    for kind, rest in steps:
        if kind == "RUN":
            subprocess.run(["bash", "-n", "-c", rest], check=True)
    assert [rest for kind, rest in steps if kind == "USER"] == ["ray"]


STANDINS = {
    "scontrol": 'echo node-7; echo node-8; echo "scontrol $*" >> "$LOG"',
    # Drops its own options, runs the rest; `hostname --ip-address` is the head's.
    "srun": """
        echo "srun $*" >> "$LOG"
        while [[ $1 == --* ]]; do shift; done
        if [ "$1" = hostname ]; then echo "10.0.0.7 fe80::7"; exit; fi
        exec "$@"
    """,
    "ray": """
        if [ "$1" = get-auth-token ]; then mkdir -p ~/.ray; echo 0f > ~/.ray/auth_token; exit; fi
        printf '%s\\0' "$@" > "$ARGUMENTS"
        exit "${CODE_OF_RUN:-0}"
    """,
}


class Slurm:
    """The script under stand-ins for Slurm's and Ray's commands."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.home.mkdir()
        (folder / "bin").mkdir()
        for name, body in STANDINS.items():
            path = folder / "bin" / name
            path.write_text(f"#!/bin/bash\n{body}\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self, *words: str, **variables: str) -> tuple[int, list[str]]:
        """Exit code, and what `ray` was called with on the nodes."""
        arguments = self.folder / "arguments"
        arguments.unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", str(DEPLOY / "slurm.sh"), *words],
            env={
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "HOME": str(self.home),
                "LOG": str(self.folder / "log"),
                "ARGUMENTS": str(arguments),
                "SLURM_JOB_ID": "4711",
                "SLURM_JOB_NODELIST": "node-[7-8]",
                "SLURM_JOB_NUM_NODES": "2",
                "SLURM_CPUS_PER_TASK": "8",
                **variables,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.returncode, arguments.read_text().split("\0")[:-1]


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path)


def split_at_dashes(words: list[str]) -> tuple[list[str], list[str]]:
    at = words.index("--")
    return words[:at], words[at + 1 :]


def test_an_allocation_becomes_a_cluster_and_runs_the_words(slurm: Slurm) -> None:
    code, words = slurm.run("space=[poly,cosine]", "trials=40", RUNS="/shared/my runs")
    assert code == 0
    options, command = split_at_dashes(words)
    address = "10.0.0.7:24711"
    assert options[:3] == ["symmetric-run", "--address", address]
    assert command[:4] == ["python", "-m", "tuner.run", f"cluster.address={address}"]
    assert command[4:] == [
        *("runs_dir=/shared/my runs", "name=slurm-4711", "space=[poly,cosine]", "trials=40")
    ]
    check_run(command[3:])
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

    extra = curate_and_validate_ray_start_args(options[1:])
    assert check_ray_start(f"ray start --head {shlex.join(extra)}")["num_cpus"] == 8
    assert (slurm.home / ".ray" / "auth_token").stat().st_mode & 0o077 == 0


def test_a_requeued_run_goes_on_with_its_code_named_again(slurm: Slurm) -> None:
    run = slurm.folder / "runs" / "slurm-4711"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text("{}")
    runs, named = str(run.parent), "trainable=mine:train optimizer=mine:make"
    _, words = slurm.run("space=poly", "trials=40", RUNS=runs, CODE=named)
    _, command = split_at_dashes(words)
    assert command[4:] == [f"resume={run}", "trainable=mine:train", "optimizer=mine:make"]
    check_run(command[3:])


@pytest.mark.parametrize("code", [1, 2, 143])
def test_slurm_is_told_the_exit_code_of_the_run(code: int, slurm: Slurm) -> None:
    assert slurm.run("space=poly", CODE_OF_RUN=str(code))[0] == code


def test_a_token_that_is_there_is_kept(slurm: Slurm) -> None:
    (slurm.home / ".ray").mkdir()
    token = slurm.home / ".ray" / "auth_token"
    token.write_text("mine")
    slurm.run("space=poly")
    assert token.read_text() == "mine"


def test_the_options_of_the_script_are_slurms() -> None:
    lines = re.findall(r"^#SBATCH (.*)$", (DEPLOY / "slurm.sh").read_text(), re.M)
    known = {"job-name", "nodes", "ntasks-per-node", "cpus-per-task", "exclusive", "time"}
    known |= {"requeue", "open-mode", "signal"}
    assert {line.removeprefix("--").partition("=")[0] for line in lines} == known
