"""Every damage of every file: what is found is what was made, and what comes back is the same."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import results
from results.records.audit import audit
from results.records.segments import COPIES, read_manifest
from tests.faults.counts import repeats, tries
from tests.faults.records.damage import (
    DAMAGES,
    FILES,
    NUM_TRIALS,
    file_of,
    missing,
    write_small_run,
)

SEEDS = range(repeats(1, 3))
RESTORED = [kind for kind in FILES if kind not in ("events", "state")]
OF_A_WRITER = ("segments", "events")  # fields of a manifest that tell what is on the disk


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as monkeypatch:
        return write_small_run(tmp_path_factory.mktemp("whole") / "run", monkeypatch)


def damaged(whole: Path, folder: Path, kind: str, damage: str, seed: int = 0) -> Path:
    run_dir = Path(shutil.copytree(whole, folder / f"{damage}{seed}" / "run"))
    DAMAGES[damage](file_of(run_dir, kind), np.random.default_rng(seed))
    return run_dir


def content(run_dir: Path) -> tuple[pa.Table, pa.Table, dict[str, object], str]:
    run = results.load(run_dir)
    manifest = {k: v for k, v in read_manifest(run_dir).items() if k not in OF_A_WRITER}
    order = [(name, "ascending") for name in ("trial_key", "epoch")]
    tables = run.trials.sort_by(order[:1]), run.epochs.sort_by(order)
    return *tables, manifest, (run_dir / "config.yaml").read_text()


@pytest.mark.fault("10")
@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_each_damage_is_found_and_no_other(whole: Path, tmp_path: Path, kind: str) -> None:
    assert results.verify(whole) == []
    name = file_of(whole, kind).parent if "/" in FILES[kind] else file_of(whole, kind)
    with tries() as once:
        for damage, seed in itertools.product(DAMAGES, SEEDS):
            run_dir = damaged(whole, tmp_path, kind, damage, seed)
            with once("10", f"damages of one file ({kind}): found, and no other file named"):
                texts = [problem.text for problem in audit(run_dir).problems]
                place = str(run_dir / name.relative_to(whole))
                assert texts
                assert all(text.startswith(place) for text in texts)
            shutil.rmtree(run_dir)


@pytest.mark.fault("10")
@pytest.mark.slow
@pytest.mark.parametrize("kind", RESTORED)
def test_what_was_written_twice_comes_back_as_it_was(
    whole: Path, tmp_path: Path, kind: str
) -> None:
    before = content(whole)
    with tries() as once:
        for damage in DAMAGES:
            run_dir = damaged(whole, tmp_path, kind, damage)
            with once("10", f"repaired after a damage ({kind}): the same rows and settings"):
                assert results.repair(run_dir)
                assert results.verify(run_dir) == []
                assert content(run_dir) == before
                assert results.repair(run_dir) == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_good_lines_stay_where_others_are_damaged(
    whole: Path, tmp_path: Path, damage: str
) -> None:
    run_dir = damaged(whole, tmp_path, "events", damage)
    results.repair(run_dir)
    assert results.verify(run_dir) == []
    assert '"kind": "repaired"' in (run_dir / "events.jsonl").read_text().splitlines()[-1]


def test_a_damaged_file_is_kept_in_quarantine(whole: Path, tmp_path: Path) -> None:
    run_dir = damaged(whole, tmp_path, "trials", "flipped")
    bad = file_of(run_dir, "trials").read_bytes()
    first, second = results.repair(run_dir)
    assert (run_dir / "quarantine" / "trials" / "00000.parquet").read_bytes() == bad
    assert first.endswith(f"; moved to {run_dir / 'quarantine' / 'trials' / '00000.parquet'}.")
    assert second.endswith(f"00000.parquet is back, from {run_dir}/copies/trials/00000.parquet.")


@pytest.mark.slow
@pytest.mark.parametrize("table", ["trials", "epochs"])
def test_what_is_lost_twice_is_told_and_never_made_up(
    whole: Path, tmp_path: Path, table: str
) -> None:
    run_dir = Path(shutil.copytree(whole, tmp_path / "run"))
    lost = results.load(whole)
    for folder in (run_dir, run_dir / COPIES):
        missing(folder / table / "00000.parquet", np.random.default_rng(0))
    assert results.repair(run_dir) == [f"{run_dir / table}: segment 00000 is lost."]
    found = audit(run_dir)
    assert found.problems == []
    left = results.load(run_dir)
    if table == "trials":
        gone = set(lost.trials["trial_key"].to_pylist()) - set(
            left.trials["trial_key"].to_pylist()
        )
        assert set(found.lost_trainings) == gone
        assert found.lost == (
            f"run run has lost the rows of {len(gone)} trainings, which a resume trains again."
        )
    else:
        num = lost.epochs.num_rows - left.epochs.num_rows
        assert sum(count for count, _ in found.lost_epochs.values()) == num
        assert found.lost == f"run run has lost {num} epochs of {num // 2} trainings."
    assert left.trials.num_rows + len(found.lost_trainings) == NUM_TRIALS
