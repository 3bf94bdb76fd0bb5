"""Claim: on a GPU, training is right (checks) and near what the hardware allows (goals).

UNTESTED on a GPU so far: first run pending. Needs search_spaces, trainables, torch, torchvision
and numpy; neither ray, optuna nor a network. Each part runs in a process of its own with a limit,
9 minutes in all, and prints as it goes; the last lines are the table. What was told is written as
JSON and Markdown into $OUT, or --out. Exit code 1 when a check or a goal fails. Without a CUDA
device the checks run on the CPU, and the rest is "not run".
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.gpu_parts.outcome import Line, Part, read_line
from benchmarks.measure import surroundings, table

NUM_CHECKED = 640
# Part -> its limit in seconds; all but `right` need a GPU.
LIMITS = {
    **{"machine": 30.0, "right": 110.0, "anatomy": 50.0, "solo": 170.0},
    **{"batches": 40.0, "packing": 140.0},
}
HEAD = ("part", "what", "measured", "verdict")


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What a number is to reach: `what` as the part calls it, a bound below, or above."""

    part: str
    what: str
    least: dict[str, float] | float | None = None  # by a word of the GPU's name
    most: float | None = None

    def judge(self, line: Line | None, gpu: str) -> Line:
        """The line with its verdict."""
        least = self.least
        if isinstance(least, dict):
            least = next((value for name, value in least.items() if name in gpu), None)
        bound = f"at least {least:,g}" if least is not None else f"at most {self.most}"
        what = f"goal: {self.what}"
        has_bound = least is not None or self.most is not None
        if line is None or line.number is None or not has_bound:
            value = line.value if line else f"({bound})" if has_bound else "(no goal for this GPU)"
            return Line(part=self.part, what=what, value=value, verdict="not run")
        is_met = line.number >= least if least is not None else line.number <= (self.most or 0.0)
        verdict = "PASS" if is_met else "FAIL"
        return Line(part=self.part, what=what, value=f"{line.value} ({bound})", verdict=verdict)


GOALS = (
    Goal(part="solo", what="resnet18 512, images/s", least={"H100": 65e3, "H200": 80e3}),
    Goal(part="solo", what="resnet18 128, graph against loop", least=2.0),
    Goal(part="batches", what="187 sizes against a constant batch, time", most=1.05),
    Goal(part="packing", what="4 x resnet18 128 against one", least=1.2),
    Goal(
        part="solo",
        what="resnet18 512 with compile, images/s",  # which is not built
        least={"H100": 78e3, "H200": 95e3},
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=NUM_CHECKED, help="of an epoch of a check")
    parser.add_argument("--out", type=Path, default=os.environ.get("OUT"), help="a folder")
    parser.add_argument("--part", choices=[*LIMITS], help="this alone, in this process")
    parser.add_argument("--child", help="of `packing`: the model that it trains")
    parser.add_argument("--start", type=float, default=0.0, help="of such a child: when")
    words = parser.parse_args()
    if words.child:
        from benchmarks.gpu_parts.rates import packed_child

        packed_child(words.child, words.start, words.images)
        return 0
    if words.part:
        for line in _part(words.part)(words.images):
            print(line.text(), flush=True)
        return 0
    lines = list(_run_all(words.images))
    _print_all(lines, words.out)
    return 1 if any(line.verdict == "FAIL" for line in lines) else 0


def _part(name: str) -> Part:
    """torch comes with it."""
    from benchmarks.gpu_parts import rates, right

    parts: dict[str, Part] = {"right": right.right}
    parts |= {part: getattr(rates, part) for part in LIMITS if part != "right"}
    return parts[name]


def _run_all(images: int) -> Iterator[Line]:
    told: list[Line] = []
    has_gpu = _has_gpu()
    for part, limit in LIMITS.items():
        if has_gpu or part == "right":
            told += _run(part, limit, images, has_limit=has_gpu)
        else:
            told.append(Line(part=part, what=part, value="no CUDA device here", verdict="not run"))
    gpu = next((line.value for line in told if (line.part, line.what) == ("machine", "GPU")), "")
    known = {line.what: line for line in told}
    yield from told
    yield from (goal.judge(known.get(goal.what), gpu) for goal in GOALS)


def _run(part: str, limit: float, images: int, *, has_limit: bool) -> list[Line]:
    """What the part tells until it ends, or its time is over."""
    words = [sys.executable, *words_of(part, images)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    # With all that it has started.
    timer = threading.Timer(limit, os.killpg, [process.pid, signal.SIGKILL])
    timer.daemon = True
    if has_limit:
        timer.start()
    lines: list[Line] = []
    assert process.stdout is not None, "it is a pipe"
    with process, process.stdout:
        for text in process.stdout:
            if line := read_line(text):
                lines.append(line)
                print(f"{line.part}: {line.what}: {line.value} {line.verdict}", flush=True)
        process.wait()
    timer.cancel()
    if process.returncode:
        is_over = process.returncode == -signal.SIGKILL
        why = f"ended after its {limit:.0f} s" if is_over else f"exit code {process.returncode}"
        lines.append(Line(part=part, what=f"{part} to its end", value=why, verdict="FAIL"))
    return lines


def words_of(part: str, images: int) -> list[str]:
    """What follows `python` to run it alone."""
    return ["-m", "benchmarks.gpu", "--part", part, "--images", str(images)]


def _has_gpu() -> bool:
    """Asked in another process: this one has no torch."""
    code = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", code]).returncode == 0


def _print_all(lines: list[Line], out: Path | None) -> None:
    about = surroundings("torch", "torchvision")
    page = table(HEAD, [(line.part, line.what, line.value, line.verdict) for line in lines])
    print(f"{about}\n{page}")
    if out is None:
        return
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    told = {"surroundings": about, "lines": [asdict(line) for line in lines]}
    (out / "gpu.json").write_text(json.dumps(told, indent=1))
    (out / "gpu.md").write_text(f"{about}\n\n{page}\n")


if __name__ == "__main__":
    sys.exit(main())
