"""What an earlier run goes on with: its own settings, and only the keys that may change."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from results.records.segments import write_manifest
from results.storage.place import Place
from tests.conftest import ROOT
from tests.data_zoo import all_of, deep, exif, image
from tests.data_zoo import plain as plain_folder
from tests.fakes.images import encode, parquet_directory, random_images
from trainables.data.encoded import parts
from trainables.data.sources import READING, describe
from tuner.config.compose import compose
from tuner.config.schema import ConfigError, plain
from tuner.plan.checks import describe_data
from tuner.plan.plan import Plan, make_plan
from tuner.run import main, make_request, read_command
from tuner.session.cluster import Slots, settle
from tuner.session.nodes import _data_lacks, wanted_of
from tuner.session.resume import _check_reading, _plan_of, resume_run


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished run of the version before this one."""
    return Path(shutil.copytree(ROOT / "tests" / "data" / "runs" / "ordinary", tmp_path / "run"))


def test_a_resumed_run_has_its_own_settings_and_plan(run_dir: Path) -> None:
    plan, folder = resume_run(str(run_dir), {})
    request = make_request({"resume": run_dir})
    assert request.run_dir == folder == run_dir.resolve()
    assert request.config == plan.config
    assert request.make_plan() == plan
    assert plan.config.space == [space.name for space in plan.spaces]


def test_a_run_is_found_by_its_name_where_runs_dir_points(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(run_dir.parent))
    for place in (str(run_dir.parent), "~"):
        assert resume_run("run", {"runs_dir": place})[1] == run_dir.resolve()
    assert resume_run("~/run", {})[1] == run_dir.resolve()
    monkeypatch.chdir(run_dir.parent)
    assert resume_run("run", {})[1] == run_dir.resolve()
    shutil.copytree(run_dir, run_dir.parent / "runs" / "run")
    other = run_dir.parent / "runs" / "run"
    assert resume_run("run", {"runs_dir": "runs"})[1] == other.resolve()  # as it is said
    shutil.rmtree(run_dir)
    assert resume_run("run", {})[1] == other.resolve()


def test_a_run_that_is_nowhere_is_told_with_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        resume_run("a\nb", {"runs_dir": str(tmp_path)})
    assert str(caught.value) == (
        f"resume=a b: no run there or in {tmp_path} (manifest.json is missing)"
    )


@pytest.mark.parametrize("trials", ["+3", "6", 6])
def test_trials_are_added_or_set(run_dir: Path, trials: str | int) -> None:
    assert resume_run(str(run_dir), {})[0].config.trials == 3  # as its manifest says
    assert resume_run(str(run_dir), {"trials": trials})[0].config.trials == 6


@pytest.mark.slow
def test_nested_values_and_shorthands_are_the_same_keys(run_dir: Path) -> None:
    given = {"confirm": {"seeds": 4}, "dataset": "digits"}
    assert resume_run(str(run_dir), given)[0].config.confirm.seeds == 4


def test_hours_may_be_given_raised_and_lifted(run_dir: Path) -> None:
    given = {"search.hours": 2, "confirm.hours": 0.5, "confirm.seeds": 3}
    config = resume_run(str(run_dir), given)[0].config
    assert (config.search.hours, config.confirm.hours) == (2.0, 0.5)
    manifest = json.loads((run_dir / "manifest.json").read_text())
    (run_dir / "manifest.json").write_text(json.dumps(manifest | {"config": plain(config)}))
    again = resume_run(str(run_dir), {"search.hours": 3, "confirm.hours": None})[0].config
    assert (again.search.hours, again.confirm.hours) == (3.0, None)
    with pytest.raises(ConfigError, match=r"^search\.hours=1\.0: the run already has 2\.0$"):
        resume_run(str(run_dir), {"search.hours": 1})


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"epochs": 3}, "epochs: cannot change when resuming (allowed: trials, "),
    ({"spaces.poly.p.low": 1}, "spaces.poly.p.low: cannot change when resuming"),
    ({"model": "resnet20"}, "model.name=resnet20: cannot change when resuming (the run has "),
    ({"space": "cosine"}, "space=cosine: cannot change when resuming (the run has poly,cosine)"),
    ({"space": "poli"}, "unknown space 'poli'; did you mean 'poly'?"),
    ({"trials": 1}, "trials=1: the run already has 3"),
    ({"trials": "+x"}, "trials=+x: write a whole number, or +N for N more"),
    ({"trials": "many"}, "trials=many: allowed is a whole number, 1 to 1,000,000"),
    ({"confirm.seeds": 0}, "confirm.seeds=0: the run already has 2"),
    ({"max_concurrent": 0}, "max_concurrent=0: allowed is >= 1"),
    ({"confirm.max_seeds": 9}, "confirm.max_seeds=9: has no effect; it needs confirm.until="),
    ({"tracking.uri": "x"}, "tracking.uri=x: has no effect; it needs 'track=[mlflow]'"),
    ({"track": "wandv"}, "unknown tracker 'wandv'; did you mean 'wandb'?"),
    ({"trails": 9}, "unknown key 'trails'; did you mean 'trials'?"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=[str(g) for g, _ in REFUSED])
def test_what_cannot_change_is_refused_in_one_line(
    run_dir: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        resume_run(str(run_dir), given)
    assert str(caught.value).startswith(message)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yaml", "trials: [1\n"),
        ("config.yaml", ""),
        ("config.yaml", "trials: 3\nconfirm: {}\ntrails: 3\n"),
        ("manifest.json", "{"),
        ("manifest.json", "[]"),
    ],
)
def test_a_damaged_run_folder_is_told_in_one_line(
    run_dir: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_dir / name).write_text(text)
    assert main([f"resume={run_dir}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: resume={run_dir}: unreadable run folder: ")
    assert error.count("\n") == 1


HUGE = 10**400
# Of a run without a checksum, and of one whose checksum fits what somebody wrote.
EDITS: list[tuple[str, Any]] = [
    ("recipe", {}),
    ("recipe", None),
    ("recipe", "digits"),
    ("recipe.epochs", "3"),
    ("recipe.epochs", math.nan),
    ("recipe.epochs", HUGE),
    ("recipe.epochs", 0),
    ("recipe.train_examples", -1),
    ("recipe.momentum", math.inf),
    ("recipe.model", None),
    ("recipe.model", ["resnet8"]),
    ("recipe.trainer", "nobody"),
    ("recipe.dataset", "nobody"),
    ("recipe.noise_law", "nobody"),
    ("recipe.precision", "fp7"),
    ("recipe.optimizer", 7),
    ("recipe.measurements", []),
    ("recipe.mine", 1),
    ("spaces", {}),
    ("spaces", []),
    ("spaces", [7]),
    ("spaces.0", {"name": "poly"}),
    ("spaces.0.name", None),
    ("spaces.0.name", 7),
    ("spaces.0.family", "nobody"),
    ("spaces.0.family", 7),
    ("spaces.0.ranges", {}),
    ("spaces.0.ranges", []),
    ("spaces.0.ranges.p", {"low": "a", "high": "b"}),
    ("spaces.0.ranges.p", {"low": math.nan, "high": 2}),
    ("spaces.0.ranges.p", {"low": 3, "high": 2}),
    ("spaces.0.ranges.nobody", {"value": 1}),
    ("spaces.1.name", "poly"),
    ("baseline", 7),
    ("baseline", {}),
    ("baseline.ranges", None),
    ("delta_ref", "much"),
    ("delta_ref", math.nan),
    ("delta_ref", -1),
    ("delta_ref", HUGE),
    ("config", None),
    ("config", []),
    ("config.trials", "many"),
    ("config.trials", HUGE),
    ("config.trials", -1),
    ("config.confirm", 7),
    ("config.confirm", {}),
    ("config.confirm.seeds", "five"),
    ("config.search", None),
    ("config.search", {"hours": "long"}),
    ("config.space", 7),
    ("config.nobody", 1),
    ("slots", {}),
    ("slots", 7),
    ("slots", {"cpus_per_trial": "all", "gpus_per_trial": 0, "max_concurrent": 1}),
    ("code_changes", 7),
    ("code_changes", [{}]),
    ("code", []),
    ("code", {"files": 7}),
    ("run_id", 7),
    ("status", ["running"]),
    ("seed", "x"),
    ("shared_samples", "x"),
    ("chosen", []),
    ("schema_version", "two"),
    ("schema_version", None),
    ("schema_version", 99),
    ("segments", 7),
    ("files", []),
    ("events", -1),
]
MISSING = ("recipe", "spaces", "baseline", "delta_ref", "config", "slots")


def edited(manifest: dict[str, Any], where: str, value: Any) -> dict[str, Any]:
    """The manifest with another value at this dotted place."""
    *folders, last = where.split(".")
    inner: Any = manifest
    for name in folders:
        inner = inner[int(name) if isinstance(inner, list) else name]
    inner[int(last) if isinstance(inner, list) else last] = value
    return manifest


def check_refused(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """It ends with one line before anything starts; the line."""
    assert main([f"resume={run_dir}", "dry_run=true"]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert error.startswith("error: ")
    assert error[:-1].isprintable()
    return error


CASES = [*((*edit, False) for edit in EDITS), *((*edit, True) for edit in EDITS[::6])]


@pytest.mark.slow
@pytest.mark.parametrize(("where", "value", "has_seal"), CASES, ids=[f"{c!r:.40}" for c in CASES])
def test_an_odd_manifest_is_told_in_one_line(
    run_dir: Path, where: str, value: Any, has_seal: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = edited(json.loads((run_dir / "manifest.json").read_text()), where, value)
    if has_seal:
        write_manifest(run_dir, manifest)
    else:
        (run_dir / "manifest.json").write_text(json.dumps(manifest))
    check_refused(run_dir, capsys)


@pytest.mark.parametrize("name", MISSING)
def test_a_manifest_that_lacks_something_is_told_in_one_line(
    run_dir: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((run_dir / "manifest.json").read_text())
    del manifest[name]
    (run_dir / "manifest.json").write_text(json.dumps(manifest))
    assert f"manifest.json lacks {name}; python -m results verify " in check_refused(
        run_dir, capsys
    )


def test_whoever_edits_a_sealed_manifest_is_told(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(run_dir, json.loads((run_dir / "manifest.json").read_text()))
    text = (run_dir / "manifest.json").read_text()
    (run_dir / "manifest.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    assert "manifest.json: altered since it was written" in check_refused(run_dir, capsys)


def test_a_symbolic_link_is_named_in_full(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_dir / "logs").symlink_to(run_dir.parent)
    said = check_refused(run_dir, capsys)
    assert said.startswith(f"error: resume={run_dir}: {run_dir / 'logs'} is a symbolic link, ")
    assert said.endswith(" Remove it.\n")


def test_a_missing_manifest_is_told_with_the_cure(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_dir / "manifest.json").unlink()
    assert f"results verify {run_dir} repair=true" in check_refused(run_dir, capsys)


@pytest.mark.parametrize("option", [["--config-dir", "my own"], ["--config-dir=my own"]])
def test_the_folder_of_ones_own_files_is_part_of_the_command(option: list[str]) -> None:
    command = read_command(["trials=3", *option, "space=knee"])
    assert command.words == ["trials=3", "space=knee", "--config-dir", "my own"]


@pytest.mark.parametrize(
    "make",
    [exif, all_of(deep), all_of(lambda seed: image(seed, mode="RGBA"))],
    ids=["turned", "16 bits", "transparent"],
)
def test_images_that_are_read_otherwise_now_end_a_resume(make: Any, tmp_path: Path) -> None:
    make(tmp_path)
    source = describe("imagefolder", str(tmp_path))
    _check_reading("run", source, {"reading": 2})
    with pytest.raises(ConfigError, match=r"resume=run: .* reads otherwise than the one that"):
        _check_reading("run", source, {})  # of before the number was written


SMALL = ("model=resnet8", "lr=0.1", "batch.initial=4", "epochs=2")


def resumed(plan: Plan, *, began: str = "2026-11-27T00:00:00+00:00", **recipe: Any) -> Plan:
    """As `resume=` plans it, from what its folder says; `recipe`: otherwise than of now."""
    manifest = {
        "recipe": {**asdict(plan.recipe), **recipe},
        "spaces": [space.to_dict() for space in plan.spaces],
        "baseline": plan.baseline.to_dict() if plan.baseline else None,
        "delta_ref": plan.delta_ref,
        "reading": READING,
        "started_at": began,
        "config": plain(plan.config),
        "slots": {name: 1 for name in Slots.__dataclass_fields__},
    }
    return _plan_of("run", plan.config, manifest, {}, None, None)


def test_data_of_a_run_of_before_are_known_by_their_files(tmp_path: Path) -> None:
    place = tmp_path / "data"
    parquet_directory(place)
    words = [f"dataset.path={place}", *SMALL]
    plan = settle(make_plan(compose(["space=poly", "dataset=parquet", *words])), "cpu")
    assert plan.recipe.data_files == plan.source.files != plan.recipe.data_fingerprint
    before = {"data_files": "", "data_fingerprint": plan.source.files}
    assert resumed(plan, **before).recipe.data_fingerprint == plan.source.files
    assert resumed(plan).recipe == plan.recipe
    # Written anew by somebody else: the same content in other files.
    for file in place.glob("*.parquet"):
        pq.write_table(pq.read_table(file), file, compression="gzip")
    assert resumed(plan).recipe == plan.recipe
    with pytest.raises(ConfigError, match=r"resume=run: the data changed \(fingerprint"):
        resumed(plan, **before)
    parquet_directory(place, num_train=21)
    with pytest.raises(ConfigError, match=r"resume=run: the data changed \(fingerprint"):
        resumed(plan)


def change_an_image(folder: Path) -> None:
    """Into another of as many bytes."""
    file = sorted(folder.glob("train/*/*.bmp"))[3]
    file.write_bytes(encode(np.full((8, 8, 3), 99, dtype=np.uint8), "BMP"))


def change_a_label(folder: Path) -> None:
    """In a table of as many bytes."""
    table = folder / "test" / "metadata.csv"
    text = table.read_text()
    table.write_text(text.replace("3.bmp,1", "3.bmp,0"))
    assert text != table.read_text()


def class_folders(folder: Path) -> None:
    for seed, part in enumerate(("train", "test")):
        for number, pixels in enumerate(random_images(20, seed=seed)):
            file = folder / part / f"{number % 2}" / f"{number}.bmp"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode(pixels, "BMP"))


def with_table(folder: Path) -> None:
    """Classes by the folders of train, and by a table of test."""
    class_folders(folder)
    files = sorted((folder / "test").glob("*/*.bmp"))
    lines = [f"{file.relative_to(folder / 'test')},{file.parent.name}" for file in files]
    (folder / "test" / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))


def damage_an_image(folder: Path) -> None:
    """Which keeps its size."""
    file = sorted(folder.glob("train/*/*.bmp"))[3]
    file.write_bytes(bytes(file.stat().st_size))


def with_a_bad_one(folder: Path) -> None:
    """`change_an_image` repairs it."""
    class_folders(folder)
    damage_an_image(folder)


SKIP = "dataset.on_bad_image=skip"


@pytest.mark.parametrize(
    ("make", "change", "words"),
    [
        (class_folders, change_an_image, []),
        (with_table, change_a_label, []),
        (class_folders, damage_an_image, [SKIP]),
        (with_a_bad_one, change_an_image, [SKIP]),
    ],
    ids=["other image", "other label", "bad now", "repaired"],
)
def test_other_content_in_files_of_equal_names_and_sizes_ends_a_resume(
    make: Any, change: Any, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MAX_BAD", 0.1)  # one of 40
    place = tmp_path / "data"
    make(place)
    plan = folder_plan(place, *words)
    assert resumed(plan).recipe == plan.recipe
    wanted = wanted_of(plan, Place("s3", "b"))
    assert [*_data_lacks(wanted.data)] == []
    change(place)
    assert describe_data(plan.config).files == plan.source.files
    with pytest.raises(ConfigError, match=r"resume=run: the data changed \(fingerprint"):
        resumed(plan)
    (lack,) = _data_lacks(wanted.data)
    assert lack.startswith(f"dataset.path={place}: other data (fingerprint ")


def folder_plan(place: Path, *words: str) -> Plan:
    data = ["dataset=imagefolder", f"dataset.path={place}", "dataset.image_size=8", *words]
    return settle(make_plan(compose(["space=poly", *data, *SMALL])), "cpu")


def test_images_of_which_not_all_are_read_are_told_when_they_are_younger_than_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_folders(tmp_path)
    monkeypatch.setattr(parts, "CONTENT_BYTES", 0)
    plan = folder_plan(tmp_path)
    before = plan.source.notes
    assert resumed(plan, began="2999-01-01T00:00:00+00:00").source.notes == before
    change_an_image(tmp_path)
    *others, note = resumed(plan, began="2026-11-01T00:00:00+00:00").source.notes
    assert tuple(others) == before
    assert re.match(r"files were changed or put there at 20\d\d-.* UTC, after the run", note)


def test_images_that_all_versions_read_alike_are_trained_on_further(tmp_path: Path) -> None:
    plain_folder(tmp_path)
    _check_reading("run", describe("imagefolder", str(tmp_path)), {})
