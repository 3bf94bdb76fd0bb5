"""Presets, workloads, spaces and runs of a stranger's say what is tried, and nothing more."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.records.store import RunStore
from tests.conftest import ROOT
from tests.security.test_strangers_run import EVIL
from trainables.checkpoints import DIGEST_LENGTH, read_newest
from trainables.data.cifar import cifar10
from tuner.config.compose import DESTINATIONS, compose
from tuner.config.schema import KEYS, ConfigError, plain, value_of
from tuner.config.yamltext import read_yaml, write_yaml
from tuner.plan.plan import make_plan
from tuner.run import make_request
from tuner.session.resume import left_behind, resume_run

pytestmark = pytest.mark.fault(
    "security", "somebody else's files, pickles, links, states: not run, not followed"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stranger's --config-dir."""
    for group in ("space", "workload", "preset"):
        (tmp_path / group).mkdir()
    (tmp_path / "evil.py").write_text(EVIL)
    return tmp_path


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished run of the version before this one."""
    return Path(shutil.copytree(ROOT / "tests" / "data" / "runs" / "ordinary", tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("group", ["workload", "preset"])
@pytest.mark.parametrize("key", KEYS)
def test_no_key_of_a_config_file_runs_code(folder: Path, group: str, key: str) -> None:
    evil = f"{folder / 'evil.py'}:payload"
    for value in (evil, [evil], str(folder / "evil.py"), [str(folder / "evil.py")]):
        (folder / group / "evil.yaml").write_text(write_yaml({key: value}))
        with contextlib.suppress(ConfigError):
            make_plan(compose({group: "evil", "dataset": "digits"}, str(folder)))
        assert not (folder / "RAN").exists()


@pytest.mark.parametrize("field", ["family", "optimizer", "p", "interval", "training", "name"])
def test_no_field_of_a_yaml_space_runs_code(folder: Path, field: str) -> None:
    evil = f"{folder / 'evil.py'}:payload"
    fields: dict[str, Any] = {"family": "poly"} | {field: evil}
    (folder / "space" / "mine.yaml").write_text(write_yaml(fields))
    with contextlib.suppress(ConfigError):
        make_plan(compose({"space": "mine"}, str(folder)))
    assert not (folder / "RAN").exists()


def test_a_preset_names_no_space_of_python(folder: Path) -> None:
    (folder / "preset" / "evil.yaml").write_text(f"space: [{folder / 'evil.py'}]\n")
    with pytest.raises(ConfigError, match=r"space: .*evil\.py would run code; name it on the"):
        compose({"preset": "evil"}, str(folder))
    assert not (folder / "RAN").exists()


# What a file could want to have the user's token or password sent to.
PLACES = {
    "cluster.address": "192.0.2.7:6379",
    "cluster.auth": "disabled",
    "tracking.uri": "http://192.0.2.7:5000",
    "tracking.entity": "stranger",
}


@pytest.mark.parametrize("group", ["workload", "preset"])
@pytest.mark.parametrize("key", PLACES)
def test_a_file_does_not_say_where_a_run_connects_to(folder: Path, group: str, key: str) -> None:
    (folder / group / "evil.yaml").write_text(write_yaml({key: PLACES[key]}))
    with pytest.raises(ConfigError, match=rf"{key}: a {group} cannot set it"):
        compose({group: "evil"}, str(folder))


def test_a_resumed_run_connects_where_it_is_told_to_and_nowhere_else(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {*PLACES} == {*DESTINATIONS}
    stored = read_yaml((run_dir / "config.yaml").read_text()) | {"track": ["mlflow"]}
    for key, place in PLACES.items():
        section, _, name = key.partition(".")
        stored[section] = {**stored.get(section, {}), name: place}
    (run_dir / "config.yaml").write_text(write_yaml(stored))
    given = {"resume": run_dir, "track": []}
    config = make_request(given).config
    assert {key: value_of(config, key) for key in DESTINATIONS} == DESTINATIONS
    told = capsys.readouterr().err.splitlines()
    assert [line.split("=")[0] for line in told] == [f"note: this run had {key}" for key in PLACES]
    assert all("not taken from its folder" in line for line in told)
    address = {"cluster.address": "10.0.0.1:6379"}
    config, _ = resume_run(str(run_dir), {"track": [], **address})
    assert value_of(config.config, "cluster.address") == "10.0.0.1:6379"
    assert not [line for line in left_behind(config.config, run_dir) if "cluster.address" in line]


@pytest.mark.parametrize(
    "text",
    ["a: !!python/object/apply:os.system ['touch ran']\n", "a: !!python/name:os.system\n"],
)
def test_a_tag_of_yaml_makes_nothing(text: str) -> None:
    with pytest.raises(ConfigError):
        read_yaml(text)


INTERPOLATIONS = ("${oc.env:HOME}", "${env:HOME}", "$HOME", "{{ lookup('env','HOME') }}", "`id`")


@pytest.mark.slow
@pytest.mark.parametrize("text", INTERPOLATIONS)
def test_what_looks_like_an_interpolation_is_text(run_dir: Path, text: str) -> None:
    stored = read_yaml((run_dir / "config.yaml").read_text())
    stored["tracking"] = {"project": text}
    (run_dir / "config.yaml").write_text(write_yaml(stored))
    plan, _ = resume_run(str(run_dir), {})
    assert plan.config.tracking.project == text
    assert plain(compose({"tracking.project": text, "track": []}))["tracking"]["project"] == text


LINKS = [
    *(".lock", "events.jsonl", "manifest.json", "config.yaml", "report.html"),
    *("checkpoints", "logs", "trials", "epochs", "plots"),
    *("checkpoints/shared-x", "logs/0123.txt", "trials/00009.parquet"),
]


@pytest.mark.parametrize("name", LINKS)
def test_a_link_in_a_run_folder_is_not_followed(run_dir: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    (outside / "shared-photos").mkdir(parents=True)
    (outside / "precious").write_text("mine")
    link = run_dir / name
    if link.is_dir():
        shutil.rmtree(link)
    target = outside if "." not in link.name else outside / "precious"
    if name in ("manifest.json", "config.yaml"):
        target.write_bytes(link.read_bytes())
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    with pytest.raises(ConfigError, match=rf"{link.name} is a symbolic link, and nothing"):
        resume_run(str(run_dir), {})
    with pytest.raises(ValueError, match="symbolic link"):
        RunStore.open(run_dir)
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before
    assert (outside / "shared-photos").is_dir()


class Payload:
    """A pickle that runs something when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self.canary,)


def test_a_pickle_among_the_states_is_not_run(tmp_path: Path) -> None:
    data = pickle.dumps(Payload(tmp_path / "ran"), protocol=2)  # as torch writes
    digest = hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]
    (tmp_path / "states").mkdir()
    (tmp_path / "states" / f"00001-a0001-{digest}.pt").write_bytes(data)
    with pytest.raises(pickle.UnpicklingError):
        read_newest(tmp_path / "states")
    assert not (tmp_path / "ran").exists()


# Types of columns that ray.data reads, and whose parameters it took from a pickle before 2.55.
ARROW_TYPES = ("arrow_tensor", "arrow_tensor_v2", "arrow_variable_shaped_tensor", "arrow_object")
READ = """
import sys
import ray.data
import results
from results.logs.readers import Columns, read_logs
from pathlib import Path
for path in map(Path, sys.argv[1:]):
    print(path, results.load(path).notes if path.is_dir() else "")
    try:
        if path.is_file():
            read_logs(path, Columns())
    except ValueError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_column_of_a_type_of_rays_runs_nothing(run_dir: Path, tmp_path: Path) -> None:
    segment = run_dir / "trials" / "00000.parquet"
    table = pq.read_table(segment)
    for number, name in enumerate(ARROW_TYPES):
        about = {
            b"ARROW:extension:name": f"ray.data.{name}".encode(),
            b"ARROW:extension:metadata": pickle.dumps(Payload(tmp_path / "ran")),
        }
        field = pa.field(f"x{number}", pa.list_(pa.float64()), metadata=about)
        column = pa.array([[1.0]] * table.num_rows, field.type)
        table = table.append_column(field, column)
        logs = pa.table([column], schema=pa.schema([field]))
        pq.write_table(logs, tmp_path / f"logs{number}.parquet")
    pq.write_table(table, segment)
    paths = [str(run_dir), *(str(path) for path in tmp_path.glob("logs*.parquet"))]
    done = subprocess.run(
        [sys.executable, "-c", READ, *paths], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.fault("26", "batches of CIFAR with another checksum: refused")
def test_batches_of_cifar_are_read_only_with_their_published_checksums(tmp_path: Path) -> None:
    # They are pickles: torchvision would run what is in them.
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*cifar10.file_md5, "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    for read in (cifar10.describe, cifar10):
        with pytest.raises(ValueError, match="is damaged: its MD5 is not"):
            read(str(tmp_path / "data"))
    assert not (tmp_path / "ran").exists()


def test_a_manifest_is_data(run_dir: Path) -> None:
    manifest = json.loads((run_dir / "manifest.json").read_text())
    for name in ("recipe", "spaces", "baseline", "delta_ref"):
        for value in (None, [], "x", {"x": 1}, 3):
            (run_dir / "manifest.json").write_text(json.dumps(manifest | {name: value}))
            with contextlib.suppress(ConfigError):
                resume_run(str(run_dir), {})
