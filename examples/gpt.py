"""A small GPT of your own, searched by GradTune: one epoch, AdamW, a learning rate for every step.

It reads the reference manual that Python brings along (0.46 million characters) by windows of
64 characters and predicts each next one; val_loss and test_loss are nats per character. A
batch is trained in micro batches of at most 16 windows, so batches may grow beyond the memory.
From the repository's root, by the command line:

    python -m tuner.run trainable=examples.gpt:train objective=val_loss epochs=1 reports=8 \\
        dataset.train_examples=4096 lr=0.002 batch.initial=16 optimizer=adamw \\
        'space=[wsd,cosine]' trials=8 confirm.seeds=3

or, the same run, by Python: `python examples/gpt.py`. AdamW's second beta is searched too with
`spaces.wsd.beta2.low=0.9 spaces.wsd.beta2.high=0.999`, and so is `weight_decay`. `train_along`
trains once more along a schedule that `python -m results export` has written, without a search.

Legend: B windows of a batch, T characters of a window, V distinct characters, C width, H heads.
"""

from __future__ import annotations

import bisect
import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.schedule import Schedule
from trainables.data.stream import SampleStream

T, C, H, NUM_LAYERS = 64, 64, 4, 2
NUM_HELD_OUT = 256  # windows of each of validation and test
MICRO_BATCH = 16
WEIGHT_DECAY, BETA2, CLIP_NORM = 0.1, 0.95, 1.0


class Update(NamedTuple):
    """One optimizer step: its lr and its part of the stream of windows."""

    lr: float
    first_sample: int
    batch_size: int


class Block(nn.Module):
    """Causal attention, then a feed-forward layer, each behind a norm and beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.out = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.up, self.down = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        heads = self.qkv(self.norm1(x)).unflatten(2, (3, H, C // H)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """Decoder-only transformer; the embedding of the characters is its last layer too."""

    def __init__(self, num_characters: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(num_characters, C)
        self.positions = nn.Embedding(T, C)
        self.blocks = nn.Sequential(*(Block() for _ in range(NUM_LAYERS)))
        self.norm = nn.LayerNorm(C)
        for name, weight in self.named_parameters():
            if weight.ndim > 1:  # GPT-2's: layers that write into the shortcut start smaller
                depth = 2 * NUM_LAYERS if name.endswith(("out.weight", "down.weight")) else 1
                nn.init.normal_(weight, std=0.02 / math.sqrt(depth))

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        x = self.characters(ids_BT) + self.positions.weight[: ids_BT.shape[1]]
        return functional.linear(self.norm(self.blocks(x)), self.characters.weight)


def read_windows(seed: int) -> tuple[dict[str, Tensor], int]:
    """Windows of T + 1 characters as numbers below V, by part, and V.

    The test windows are the same for every seed; the seed draws the validation windows.
    """
    text = "\n".join(topics[name] for name in sorted(topics))
    number_of = {character: number for number, character in enumerate(sorted(set(text)))}
    ids = torch.tensor([number_of[character] for character in text])
    windows = ids.unfold(0, T + 1, T)
    windows = windows[torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))]
    test, rest = windows[:NUM_HELD_OUT], windows[NUM_HELD_OUT:]
    rest = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))]
    return {"train": rest[NUM_HELD_OUT:], "val": rest[:NUM_HELD_OUT], "test": test}, len(number_of)


def make_optimizer(
    model: nn.Module, beta2: float = BETA2, weight_decay: float = WEIGHT_DECAY
) -> torch.optim.AdamW:
    """AdamW that decays matrices and embeddings, not biases and norms; lr is set at every step."""
    weights = list(model.parameters())
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": weight_decay},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, beta2))


def add_gradients(model: nn.Module, window_BT: Tensor, micro_batch: int = MICRO_BATCH) -> float:
    """Gradients of the mean loss of the whole batch, in pieces; returns that loss."""
    loss_sum = 0.0
    for piece in window_BT.split(micro_batch):
        loss = functional.cross_entropy(model(piece[:, :-1]).mT, piece[:, 1:])
        share = loss * (len(piece) / len(window_BT))
        share.backward()  # type: ignore[no-untyped-call]
        loss_sum += share.item()
    return loss_sum


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, window_BT: Tensor, lr: float
) -> float:
    """One optimizer step with this lr; returns the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad()
    loss = add_gradients(model, window_BT)
    nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
    optimizer.step()
    return loss


@torch.inference_mode()
def evaluate(model: nn.Module, window_NT: Tensor, device: str) -> tuple[float, float]:
    """Mean loss in nats, and the share of characters predicted right."""
    window_NT = window_NT.to(device)
    logits = model(window_NT[:, :-1])
    right = logits.argmax(-1) == window_NT[:, 1:]
    loss = functional.cross_entropy(logits.mT, window_NT[:, 1:])
    return loss.item(), right.float().mean().item()


def updates_by_report(schedule: Schedule, done: int) -> Iterator[list[Update]]:
    """The optimizer steps up to each report that is still to come."""
    for number in range(done + 1, schedule.num_reports + 1):
        steps = schedule.report_steps(number)
        yield [Update(float(schedule.lr_S[s.stage]), s.first_sample, s.batch_size) for s in steps]


def train(
    schedule: Schedule, seed: int, report: Any, params: Mapping[str, float] | None = None
) -> None:
    """Train along the schedule's table; params: beta2 and weight_decay, where searched."""
    torch.manual_seed(seed)
    windows, num_characters = read_windows(seed)
    model = GPT(num_characters).to(report.device)
    optimizer = make_optimizer(model, **params or {})
    if report.state is not None:  # an interrupted training goes on
        model.load_state_dict(report.state["model"])
        optimizer.load_state_dict(report.state["optimizer"])
    stream = SampleStream(seed, len(windows["train"]))  # equal samples in all arms
    num_seen = 0
    for updates in updates_by_report(schedule, report.report):
        loss_sum = 0.0
        for lr, first_sample, batch_size in updates:
            batch = windows["train"][stream.take(first_sample, batch_size).index_B]
            loss_sum += batch_size * train_step(model, optimizer, batch.to(report.device), lr)
        num_seen = updates[-1].first_sample + updates[-1].batch_size
        val_loss, val_accuracy = evaluate(model, windows["val"], report.device)
        metrics = {"val_loss": val_loss, "val_accuracy": val_accuracy}
        if num_seen >= schedule.total_samples and report.needs_test:
            test_loss, test_accuracy = evaluate(model, windows["test"], report.device)
            metrics |= {"test_loss": test_loss, "test_accuracy": test_accuracy}
        report(
            **metrics,
            train_loss=loss_sum / (num_seen - updates[0].first_sample),
            state={"model": model.state_dict(), "optimizer": optimizer.state_dict()},
        )


def train_along(folder: Path, seed: int, device: str = "cpu") -> float:
    """Train along the schedule.csv and schedule.json of an export; the test loss in nats.

    With a seed of the run, on the same machine and as many threads, it is the run's own loss.
    """
    rows = list(csv.DictReader((folder / "schedule.csv").read_text().splitlines()))
    starts = [int(row["start_sample"]) for row in rows]
    found = json.loads((folder / "schedule.json").read_text())
    total_samples = found["total_samples"]
    torch.manual_seed(seed)
    windows, num_characters = read_windows(seed)
    model = GPT(num_characters).to(device)
    optimizer = make_optimizer(model, **found["training"])
    stream = SampleStream(seed, len(windows["train"]))
    num_seen = 0
    while num_seen < total_samples:
        row = rows[bisect.bisect_right(starts, num_seen) - 1]
        batch = windows["train"][stream.take(num_seen, int(row["batch_size"])).index_B]
        train_step(model, optimizer, batch.to(device), float(row["lr"]))
        num_seen += len(batch)
    return evaluate(model, windows["test"], device)[0]


if __name__ == "__main__":
    import sys

    import tuner

    words = dict(word.split("=", 1) for word in sys.argv[1:])  # e.g. trials=2

    settings = {
        "space": ["wsd", "cosine"],
        "objective": "val_loss",
        "dataset.train_examples": 4096,
        "lr": 0.002,
        "batch.initial": 16,
        "epochs": 1,
        "reports": 8,
        "optimizer": "adamw",
        "trials": 8,
        "confirm.seeds": 3,
    }
    run = tuner.search(trainable=train, settings=settings | words)
    print(run.compare().verdict)
