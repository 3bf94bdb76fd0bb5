"""The command with rungs, with seeds until decided, and with shared beginnings."""

from __future__ import annotations

import math
import signal
from collections import Counter

import pytest

import results
from tests.commands.command import Command, reproducible, wait_for
from tests.fakes.tune_loop import Inline

pytestmark = pytest.mark.slow

TINY = ("workload=digits", "model.width=4", "dataset.train_examples=300", "display=plain")
RUNGS = (*TINY, "space=poly", "epochs=9", "search.rungs=2", "trials=6", "confirm.seeds=2")


@pytest.mark.full
@pytest.mark.parametrize("fidelity", ["squeezed", "prefix"])
def test_a_search_by_rungs_is_cut_and_resumed_as_if_nothing_had_been(
    command: Command, inline: Inline, fidelity: str
) -> None:
    words = (*RUNGS, f"search.fidelity={fidelity}", "max_concurrent=1")
    whole = inline.run(*words, "name=whole")
    assert whole.returncode == 0, whole.stderr
    # Through Ray where trainings pause there, and go on in another Tune trial.
    process = (command if fidelity == "prefix" else inline).start(*words, "name=cut")
    wait_for(process, "[7/")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    resumed = inline.run(f"resume={command.folder / 'cut'}")
    assert resumed.returncode == 0, resumed.stderr
    cut, uncut = (results.load(command.folder / name) for name in ("cut", "whole"))
    assert reproducible(cut) == reproducible(uncut)
    searched = [r for r in uncut.trials.to_pylist() if r["role"] == "search"]
    # Six configs start, two are promoted: prefixes go on as the same training.
    expected = {"squeezed": {"completed": 8}, "prefix": {"paused": 4, "completed": 2}}
    assert Counter(r["status"] for r in searched) == expected[fidelity]
    study = uncut.to_study("poly")
    assert Counter(t.state.name for t in study.trials) == {"PRUNED": 4, "COMPLETE": 2}


def test_seeds_are_added_until_the_verdict_is_decided(inline: Inline) -> None:
    # An lr a thousand times too small against the default: five seeds or so are enough.
    done = inline.run(
        *TINY, "space=lr", "epochs=6", "spaces.lr.delta0.value=0.0001", "confirm.seeds=3",
        "confirm.until=decided", "confirm.max_seeds=12", "name=decided",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = results.load(inline.folder / "decided")
    seeds = Counter(r["space"] for r in run.trials.to_pylist() if r["role"] == "confirm")
    assert seeds["lr"] == seeds["baseline"]
    assert 3 < seeds["lr"] < 12
    comparison = run.compare()
    assert "confidence sequence" in comparison.verdict
    assert "beats" in comparison.verdict


def test_the_seed_budget_ends_what_cannot_be_decided(inline: Inline) -> None:
    # All but the default itself: as good as equal.
    done = inline.run(
        *TINY, "space=cosine", "epochs=3", "spaces.cosine.interval.value=1",
        "spaces.cosine.delta0.value=0.1768", "confirm.seeds=2",
        "confirm.until=decided", "confirm.max_seeds=4", "name=equal",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = results.load(inline.folder / "equal").trials.to_pylist()
    assert Counter(r["space"] for r in rows) == {"cosine": 4, "baseline": 4}


def test_shared_beginnings_change_no_number_and_are_told(inline: Inline) -> None:
    words = (
        *TINY, "space=[lr,batch]", "epochs=6", "baseline=false", "confirm.seeds=2",
        "spaces.lr.delta0.value=0.1", "spaces.batch.delta0.value=0.1",
        "spaces.lr.interval.value=2", "spaces.batch.interval.value=2",
    )  # fmt: skip
    for name in ("alone", "shared"):
        done = inline.run(*words, f"name={name}", f"search.share_prefix={name == 'shared'}")
        assert done.returncode == 0, done.stderr
    runs = [results.load(inline.folder / name) for name in ("alone", "shared")]
    assert reproducible(runs[0]) == reproducible(runs[1])
    (manifest,) = runs[1].manifests.values()
    assert manifest["shared_samples"] == 2 * 2 * 240  # two seeds, two epochs each
    assert f"{2 * 2 * 240:,} images were shared" in done.stdout


# A linear cooldown whose share is searched from one peak: the first epochs agree.
COOLDOWNS = (
    *TINY, "space=wsd_linear", "spaces.wsd_linear.delta0.value=0.1", "max_concurrent=1",
    "spaces.wsd_linear.interval.value=1", "baseline=false", "confirm.seeds=2",
)  # fmt: skip
EPOCHS, N = 6, 240


def trunk(row: dict) -> int:
    """Epochs before the first of EPOCHS stages that decays: u = m/EPOCHS above 1-f."""
    return math.floor(EPOCHS * (1 - row["f"])) + 1


def test_a_search_of_cooldowns_trains_one_trunk_and_the_tails(inline: Inline) -> None:
    words = (*COOLDOWNS, f"epochs={EPOCHS}", "trials=6")
    for name in ("alone", "shared"):
        done = inline.run(*words, f"name={name}", f"search.share_prefix={name == 'shared'}")
        assert done.returncode == 0, done.stderr
    alone, shared = (results.load(inline.folder / name) for name in ("alone", "shared"))
    assert reproducible(alone) == reproducible(shared)
    searched = [row for row in shared.trials.to_pylist() if row["role"] == "search"]
    trunks = [trunk(row) for row in searched]
    trained = N * (max(trunks) + sum(EPOCHS - epochs for epochs in trunks))
    (manifest,) = shared.manifests.values()
    assert manifest["shared_samples"] == len(searched) * EPOCHS * N - trained
    assert f"{manifest['shared_samples']:,} images were shared" in done.stdout
    assert not [*(inline.folder / "shared" / "checkpoints").glob("shared-*")]


@pytest.mark.full
@pytest.mark.parametrize("fidelity", ["prefix", pytest.param("squeezed", marks=pytest.mark.full)])
def test_cooldowns_by_rungs_share_their_trunks_and_change_no_number(
    inline: Inline, fidelity: str
) -> None:
    rungs = (f"search.fidelity={fidelity}", "search.rungs=2")
    words = (*COOLDOWNS, *rungs, "epochs=9", "trials=9")
    for name in ("alone", "shared"):
        done = inline.run(*words, f"name={name}", f"search.share_prefix={name == 'shared'}")
        assert done.returncode == 0, done.stderr
    alone, shared = (results.load(inline.folder / name) for name in ("alone", "shared"))
    assert reproducible(alone) == reproducible(shared)
    (manifest,) = shared.manifests.values()
    assert manifest["shared_samples"] > 0


@pytest.mark.full
def test_a_killed_search_of_cooldowns_goes_on_from_the_states_it_finds(inline: Inline) -> None:
    words = (*COOLDOWNS, f"epochs={EPOCHS}", "trials=8")
    whole = inline.run(*words, "name=whole")
    assert whole.returncode == 0, whole.stderr
    process = inline.start(*words, "name=cut", "search.share_prefix=true")
    wait_for(process, "[4/")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert [*(inline.folder / "cut" / "checkpoints").glob("shared-*/*.pt")]
    resumed = inline.run(f"resume={inline.folder / 'cut'}")
    assert resumed.returncode == 0, resumed.stderr
    cut, uncut = (results.load(inline.folder / name) for name in ("cut", "whole"))
    assert reproducible(cut) == reproducible(uncut)
    searched = [row for row in cut.trials.to_pylist() if row["role"] == "search"]
    trunks = [trunk(row) for row in searched]
    trained = N * (max(trunks) + sum(EPOCHS - epochs for epochs in trunks))
    (manifest,) = cut.manifests.values()
    assert manifest["shared_samples"] == len(searched) * EPOCHS * N - trained


@pytest.mark.full
def test_two_workers_train_the_same_cooldowns(command: Command, inline: Inline) -> None:
    words = [word for word in COOLDOWNS if not word.startswith("max_concurrent")]
    words += [f"epochs={EPOCHS}", "trials=4", "search.sampler=random", "max_concurrent=2"]
    done = inline.run(*words, "name=alone")
    assert done.returncode == 0, done.stderr
    done = command.run(*words, "name=shared", "search.share_prefix=true")
    assert done.returncode == 0, done.stderr
    alone, shared = (results.load(command.folder / name) for name in ("alone", "shared"))
    assert reproducible(alone) == reproducible(shared)
    searched = [row for row in shared.trials.to_pylist() if row["role"] == "search"]
    trunks = [trunk(row) for row in searched]
    trained = N * (max(trunks) + sum(EPOCHS - epochs for epochs in trunks))
    (manifest,) = shared.manifests.values()
    assert manifest["shared_samples"] == len(searched) * EPOCHS * N - trained
