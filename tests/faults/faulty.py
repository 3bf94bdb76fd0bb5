"""Code of a user's that does something terrible, at a moment that the test chooses."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import results

# A linear network on the 8x8 digits; what it does is done in the training's pass number `when`,
# and in every pass once it was among the first: whether a retry has a state to go on from, and so
# how many passes it has left, depends on how long saving takes.
MODEL = """
import ctypes, os, pathlib, signal, sys, time
import numpy, torch
from torch import nn
FLAG = pathlib.Path({flag!r})
def among_first(number):
    count = len(list(FLAG.parent.glob(FLAG.name + "-*")))
    if count < number:
        FLAG.with_name(f"{{FLAG.name}}-{{count}}").touch()
    return count < number
def has_begun():
    return any(FLAG.parent.glob(FLAG.name + "-*"))
class Net(nn.Module):
    def __init__(self, num_classes, size):
        super().__init__()
        self.line = nn.Linear(size, num_classes)
        self.passes = 0
    def forward(self, x):
        self.passes += self.training
        if self.training and (self.passes == {when} or has_begun()):
{act}
        return self.line(x.flatten(1))
def make(*, num_classes, in_channels, width):
    return Net(num_classes, in_channels * 64)
"""
# 300 digits in batches of 32, lr alone decays: an epoch has 10 passes at most, so this is in the
# second.
IN_SECOND_EPOCH = 14
SMALL = (
    *(
        "space=poly",
        "workload=digits",
        "batch.initial=32",
        "dataset.train_examples=300",
        "epochs=3",
    ),
    *("baseline=false", "trials=3", "confirm.seeds=2", "display=plain", "max_concurrent=1"),
)


def write_model(folder: Path, act: str, when: int = IN_SECOND_EPOCH) -> str:
    """A file with such a network; the word that names it. `among_first(n)` is true n times."""
    path = folder / "faulty.py"
    path.write_text(
        MODEL.format(flag=str(folder / "flag"), when=when, act=textwrap.indent(act, " " * 12))
    )
    return f"model={path}:make"


def statuses(run: results.Run) -> Counter[str]:
    """How many trials ended how."""
    return Counter(row["status"] for row in run.trials.to_pylist())


def events(run: results.Run, kind: str) -> list[dict[str, Any]]:
    """What events.jsonl holds of this kind."""
    lines = (run.dirs[0] / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]
