"""The GPU benchmark: what its parts tell, and how goals judge it; its rates run on the CPU."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_parts import rates
from benchmarks.gpu_parts.outcome import Line, checked, read_line
from benchmarks.trials import NUM_VAL, timed_trial

SMALL = 96  # images


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU in its place, and small trainings: the code runs, the numbers mean nothing."""
    nothing = {"synchronize": None, "empty_cache": None, "reset_peak_memory_stats": None}
    numbers = ("memory_reserved", "max_memory_allocated", "max_memory_reserved")
    about = SimpleNamespace(name="NVIDIA H200", total_memory=2**37)
    for name, value in {**nothing, **dict.fromkeys(numbers, 2**30)}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: about)
    small = {"GEMM_SIZE": 8, "COPY_BYTES": 64, "GEMM_REPEATS": 1, "PACKED_SECONDS": 0.0}
    small |= {"DEVICE": "cpu", "NUM_ROUNDS": 1, "NUM_PROFILED": 1, "SIZES": (4,)}
    small |= {"CASES": (("resnet18", 128, 256, 32), ("wrn28x10", 8, 16, 40)), "PLAIN_IMAGES": 32}
    for name, value in small.items():
        monkeypatch.setattr(rates, name, value)

    def trial(model: str, *, num_images: int, batch_size: int, **options: Any) -> Any:
        size = min(SMALL, num_images)
        words = options | {"precision": "fp32", "num_threads": 1}
        if "dataset_path" in options:  # as many images, of that size
            words["dataset_path"] = f"{size + NUM_VAL}x{options['dataset_path'].split('x')[1]}"
        return timed_trial("resnet8", num_images=size, batch_size=min(16, size), **words)

    monkeypatch.setattr(rates, "timed_trial", trial)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:CUDA is not available, disabling CUDA profiling")
@pytest.mark.usefixtures("no_gpu")
def test_every_rate_is_told_and_every_goal_has_its_number() -> None:
    parts = (rates.machine, rates.anatomy, rates.solo, rates.batches)
    lines = [line for part in parts for line in part(64)]
    assert [line.part for line in lines] == sorted(
        (line.part for line in lines), key=["machine", "anatomy", "solo", "batches"].index
    )
    assert not [line for line in lines if line.verdict == "FAIL"]
    assert all(read_line(line.text()) == line for line in lines)
    known = {line.what for line in lines}
    of_here = {goal.what for goal in gpu.GOALS if goal.part != "packing"}
    assert of_here - known == {"resnet18 512 with compile, images/s", "resnet18 512, images/s"}
    assert "resnet18 128, graph against plain" in known


@pytest.mark.slow
@pytest.mark.usefixtures("no_gpu")
def test_packed_trainings_are_added_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rates, "PACKED_SECONDS", 0.01)
    rates.packed_child("resnet18", 0.0, 64)
    told = json.loads(capsys.readouterr().out)
    assert told["rate"] > 0
    monkeypatch.setattr(rates, "_packed", lambda model, num, images: [told] * num)
    lines = {line.what: line for line in rates.packing(64)}
    assert lines["4 x resnet18 128 against one"].number == pytest.approx(4.0)
    assert lines["4 x resnet18: bits as alone, in other processes"].verdict == "PASS"


@pytest.mark.parametrize(
    ("name", "number", "verdict"),
    [
        ("NVIDIA H100 80GB HBM3", 65_000.0, "PASS"),
        ("NVIDIA H200", 79_999.0, "FAIL"),
        ("NVIDIA H200", 80_000.0, "PASS"),
        ("NVIDIA A100", 80_000.0, "not run"),
        ("NVIDIA H100 80GB HBM3", None, "not run"),
    ],
)
def test_a_goal_is_that_of_the_gpu(name: str, number: float | None, verdict: str) -> None:
    line = Line(part="solo", what="resnet18 512, images/s", value="x", number=number)
    assert gpu.GOALS[0].judge(line, name).verdict == verdict
    assert gpu.GOALS[0].judge(None, name).verdict == "not run"


@pytest.mark.parametrize(
    ("number", "verdict"), [(1.05, "PASS"), (1.06, "FAIL"), (None, "not run")]
)
def test_a_goal_may_be_an_upper_bound(number: float | None, verdict: str) -> None:
    (goal,) = (goal for goal in gpu.GOALS if goal.most is not None)
    line = Line(part=goal.part, what=goal.what, value="x", number=number)
    assert goal.judge(line, "any").verdict == verdict
    assert math.isclose(goal.most or 0.0, 1.05)


def fails() -> str:
    raise RuntimeError("CUDA error:\n an illegal memory access")


def test_a_check_that_raises_has_failed_with_its_words() -> None:
    line = checked("right", fails)
    assert (line.what, line.verdict) == ("fails", "FAIL")
    assert line.value == "RuntimeError: CUDA error: an illegal memory access"
    assert checked("right", lambda: "well", "it is").value == "well"


@pytest.mark.slow
def test_a_part_that_dies_or_takes_too_long_costs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for code, why in (("sys.exit(3)", "exit code 3"), ("time.sleep(60)", "ended after its 2 s")):
        told = Line(part="solo", what="before", value="1").text()
        words = ["-c", f"import sys, time; print({told!r}, flush=True); {code}"]
        monkeypatch.setattr(gpu, "words_of", lambda part, images, words=words: words)
        first, last = gpu._run("solo", 2.0, 64, has_limit=True)
        assert (first.what, last.value, last.verdict) == ("before", why, "FAIL")


def test_what_was_told_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [Line(part="solo", what="a rate", value="7", number=7.0, verdict="PASS")]
    gpu._print_all(lines, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert told["lines"][0]["number"] == 7.0
    assert "| solo | a rate | 7        | PASS    |" in (tmp_path / "out" / "gpu.md").read_text()
    assert "a rate" in capsys.readouterr().out
