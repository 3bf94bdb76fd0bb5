"""A run folder of a stranger's: whatever it names, nothing of it runs unless it is named again."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from results.__main__ import main as results_main
from results.records.schema import SCHEMAS
from results.records.segments import list_segments, read_segment, write_segment
from search_spaces.trial import Recipe, canonical_json
from tests.fakes.tune_loop import Inline, do_without_ray
from tests.faults.counts import repeats
from trainables.trainable import ScheduledTrainable
from tuner.campaign.campaign import Campaign
from tuner.config.schema import Config, ConfigError, flatten, plain
from tuner.config.yamltext import read_yaml, write_yaml
from tuner.reproduce import main as reproduce_main
from tuner.run import main as run_main
from tuner.session.resume import resume_run

# Runs when anything imports it; offers whatever might be looked up in it.
EVIL = """
import pathlib
pathlib.Path(__file__).with_name("RAN").touch()
def payload(*args, **kwargs):
    raise SystemExit("the payload was called")
def __getattr__(name):
    return payload
"""
pytestmark = [
    pytest.mark.slow,  # each goes through all fields of a file
    pytest.mark.fault("security", "somebody else's run folder: nothing of it is run"),
]

SEALS = ("seal", "files", "segments", "events")
SMALL = (
    *("space=[poly,cosine]", "trials=1", "confirm.seeds=1", "epochs=1", "model.width=4"),
    *("dataset.train_examples=200", "display=none", "name=victim"),
)


class OneStep:
    """Stands for `tune.Tuner`: the first trial is taken up as a worker does, and not trained."""

    def __init__(self, trainable: type[tune.Trainable], *, tune_config: Any, run_config: Any):
        self.searcher = tune_config.search_alg

    def fit(self) -> None:
        worker = ScheduledTrainable(config=self.searcher.suggest("0"))
        worker.make_training(worker.config)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of this version, with nothing foreign in it."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as monkeypatch:
        done = Inline(folder, monkeypatch).run(*SMALL)
    assert done.returncode == 0, done.stderr
    return folder / "victim"


@pytest.fixture
def victim(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    do_without_ray(monkeypatch)
    monkeypatch.setattr(tune, "Tuner", OneStep)
    folder = Path(shutil.copytree(finished, tmp_path / "victim"))
    (folder / "evil.py").write_text(EVIL)
    # As a version without checksums left it: no door is closed by one, which anybody can make.
    manifest = json.loads((folder / "manifest.json").read_text())
    known = {name: manifest[name] for name in manifest.keys() - {*SEALS}}
    (folder / "manifest.json").write_text(json.dumps(known))
    shutil.rmtree(folder / "copies")
    return folder


def paths_of(data: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in nested data every value is, groups of values included."""
    items: Any = data.items() if isinstance(data, dict) else ()
    items = enumerate(data) if isinstance(data, list) else items
    for name, value in items:
        yield (*before, name)
        yield from paths_of(value, (*before, name))


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The data with this value there, and all groups on the way."""
    name, *rest = path
    inner = replaced(data[name], tuple(rest), value) if rest else value
    if isinstance(data, list):
        return [*data[:name], inner, *data[name + 1 :]]
    return {**data, name: inner}


def outcome(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and what was told of a resume."""
    code = run_main([*words, "display=none", "report=false"])
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return code, told


def test_the_unchanged_run_goes_on(victim: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Or nothing below would show anything: the first trial is made, then the loop ends.
    code, told = outcome(f"resume={victim}", "trials=2", capsys=capsys)
    assert (code, "the run ended before its trials did" in told) == (1, True)


def take_up(victim: Path, *, train: bool) -> None:
    """Resume; train: as far as a worker that has made its training."""
    try:
        plan, _ = resume_run(str(victim), {"trials": 2})
    except ConfigError:
        return
    if not train:
        return
    with contextlib.suppress(Exception):  # numbers of another type end it too
        trial = Campaign(plan).next()
        worker = ScheduledTrainable({"trial": canonical_json(trial.to_dict()), "imports": ()})
        worker.make_training(worker.config)


# Where a field names something that a worker looks up.
LOOKED_UP = ("recipe", "spaces", "baseline")


def test_no_field_of_the_manifest_runs_code(victim: Path) -> None:
    before = json.loads((victim / "manifest.json").read_text())
    whole = before | {"recipe": {item.name: None for item in fields(Recipe)} | before["recipe"]}
    paths = [path for path in paths_of(whole) if path[0] != "schema_version"]
    assert ("recipe", "trainer") in paths
    assert ("spaces", 0, "optimizer") not in paths  # left out where an arm has none of its own
    paths += [("spaces", 0, "optimizer"), ("baseline", "optimizer"), ("evil",)]
    assert_nothing_runs(victim, "manifest.json", json.dumps, before, paths)


def test_no_key_of_the_configuration_runs_code(victim: Path) -> None:
    stored = read_yaml((victim / "config.yaml").read_text())
    assert {key for key, _ in flatten(plain(Config()))} <= {key for key, _ in flatten(stored)}
    assert_nothing_runs(victim, "config.yaml", write_yaml, stored, [*paths_of(stored)])


def assert_nothing_runs(
    victim: Path, name: str, write: Any, before: Any, paths: list[tuple[Any, ...]]
) -> None:
    evil = f"{victim / 'evil.py'}:payload"
    for path in paths[:: repeats(4, 1)]:
        for value in (evil, [evil]) if path[0] in LOOKED_UP else (evil,):
            (victim / name).write_text(write(replaced(before, path, value)))
            take_up(victim, train=path[0] in LOOKED_UP)
            assert not (victim / "RAN").exists(), path


# The doors that once were open.
DOORS = (("recipe", "trainer"), ("spaces", 0, "optimizer"), ("baseline", "optimizer"))


@pytest.mark.parametrize("path", DOORS)
def test_a_door_is_told_of_in_one_line(
    victim: Path, path: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    evil = f"{victim / 'evil.py'}:payload"
    before = json.loads((victim / "manifest.json").read_text())
    (victim / "manifest.json").write_text(json.dumps(replaced(before, path, evil)))
    code, told = outcome(f"resume={victim}", "trials=2", capsys=capsys)
    assert (code, told.count("\n")) == (2, 1)
    assert not (victim / "RAN").exists()


@pytest.mark.full
def test_no_row_of_the_records_runs_code(victim: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = f"{victim / 'evil.py'}:payload"
    (path,) = list_segments(victim, "trials")
    table = read_segment(path, SCHEMAS["trials"])
    rows = table.to_pylist()
    texts = [name for name in table.column_names if isinstance(rows[0][name], str)]
    assert {"trial_key", "space", "config_json"} <= {*texts}
    key = rows[0]["trial_key"]
    for name in texts:
        for value in itertools.islice(payloads(rows[0][name], evil), 0, None, repeats(4, 1)):
            changed = [{**row, name: value} for row in rows]
            write_segment(path, table.from_pylist(changed, schema=table.schema))
            export = ["export", str(victim), "--schedule", "best", "--out", str(victim / "x")]
            for main, words in (
                (reproduce_main, [str(victim), key[:8]]),
                (results_main, ["show", str(victim)]),
                (results_main, export),
            ):
                with contextlib.suppress(Exception):  # a text in the place of a number
                    main(words)
            assert not (victim / "RAN").exists(), (name, value)
    for words in (["compare", "--no-plots"], ["compare", "--paragraph"], ["verify"]):
        with contextlib.suppress(Exception):
            results_main([words[0], str(victim), *words[1:]])
    assert not (victim / "RAN").exists()


def payloads(text: str, evil: str) -> Iterator[str]:
    """In the place of the text, and of each text in the JSON that it is."""
    yield evil
    if text.startswith("{"):
        data = json.loads(text)
        for path in paths_of(data):
            if isinstance(functools.reduce(lambda inner, name: inner[name], path, data), str):
                yield json.dumps(replaced(data, path, evil))


def test_code_named_again_is_imported(victim: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The gate opens for whoever types the name; what then fails is the payload's affair.
    evil = f"{victim / 'evil.py'}:payload"
    for name, path in (("manifest.json", ("recipe", "model")), ("config.yaml", ("model", "name"))):
        read, write = (
            (read_yaml, write_yaml) if name == "config.yaml" else (json.loads, json.dumps)
        )
        data = read((victim / name).read_text())
        (victim / name).write_text(write(replaced(data, path, evil)))
    for segment in victim.glob("*/*.parquet"):  # of another model
        segment.unlink()
    code, told = outcome(f"resume={victim}", "trials=2", capsys=capsys)
    assert (code, f"repeat model={evil} to allow it" in told) == (2, True)
    assert not (victim / "RAN").exists()
    words = [f"resume={victim}", "trials=2", f"model={evil}", "code=accept", "display=none"]
    with pytest.raises(SystemExit, match="the payload was called"):
        run_main(words)
    assert (victim / "RAN").exists()
