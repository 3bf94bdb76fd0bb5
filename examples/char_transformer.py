"""A language model of your own, searched by GradTune: a small transformer on characters.

It learns the Python source of this repository's search_spaces/ and trainables/ (0.3 million
characters; a training takes seconds on one CPU core). val_accuracy is the share of next
characters predicted right. From the repository's root, by the command line:

    python -m tuner.run trainable=examples.char_transformer:train dataset.train_examples=1024 \\
        lr=0.01 batch.initial=16 epochs=6 optimizer=adamw 'space=[poly,cosine]' \\
        trials=5 confirm.seeds=3

or, the same run, by Python: `python examples/char_transformer.py` (see the end of the file).

Legend: B windows of a batch, T characters of a window, V distinct characters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.schedule import Schedule

ROOT = Path(__file__).resolve().parent.parent
T = 32
BLOCK = 1024  # consecutive characters that stay together in training, validation or test
NUM_HELD_OUT = 16  # blocks of each of validation and test
WIDTH, NUM_LAYERS, NUM_HEADS = 48, 2, 4


def read_blocks(seed: int) -> tuple[dict[str, Tensor], int]:
    """Blocks of characters as numbers below V, by part, and V.

    The test blocks are the same for every seed; the seed draws the validation blocks.
    """
    files = sorted(
        p for name in ("search_spaces", "trainables") for p in (ROOT / name).rglob("*.py")
    )
    text = "".join(path.read_text() for path in files)
    number_of = {character: number for number, character in enumerate(sorted(set(text)))}
    ids = torch.tensor([number_of[character] for character in text])
    blocks = ids[: len(ids) // BLOCK * BLOCK].view(-1, BLOCK)
    blocks = blocks[torch.randperm(len(blocks), generator=torch.Generator().manual_seed(0))]
    test, rest = blocks[:NUM_HELD_OUT], blocks[NUM_HELD_OUT:]
    rest = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))]
    return {"train": rest[NUM_HELD_OUT:], "val": rest[:NUM_HELD_OUT], "test": test}, len(number_of)


class CharTransformer(nn.Module):
    """Decoder-only transformer: the distribution of each next character."""

    def __init__(self, num_characters: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(num_characters, WIDTH)
        self.positions = nn.Parameter(0.02 * torch.randn(T, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, NUM_HEADS, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, NUM_LAYERS, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False
        )
        self.head = nn.Linear(WIDTH, num_characters)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        mask = nn.Transformer.generate_square_subsequent_mask(T, device=ids_BT.device)
        x = self.characters(ids_BT) + self.positions
        logits: Tensor = self.head(self.layers(x, mask=mask, is_causal=True))
        return logits


def train(schedule: Schedule, seed: int, report: Any) -> None:
    """Train along the schedule's table; one report at each evaluation point."""
    torch.manual_seed(seed)
    blocks, num_characters = read_blocks(seed)
    model = CharTransformer(num_characters).to(report.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.01)
    if report.state is not None:  # an interrupted training goes on
        model.load_state_dict(report.state["model"])
        optimizer.load_state_dict(report.state["optimizer"])
    # Sample i is the same window in every arm: where a batch begins and ends does not matter.
    generator = torch.Generator().manual_seed(seed)
    num_samples = schedule.total_samples + int(schedule.batch_size_S.max())
    block_N = torch.randint(len(blocks["train"]), (num_samples,), generator=generator)
    start_N = torch.randint(BLOCK - T, (num_samples,), generator=generator)

    for number in range(report.report + 1, schedule.num_reports + 1):
        model.train()
        loss_sum, num_seen = 0.0, 0
        for step in schedule.report_steps(number):
            for group in optimizer.param_groups:
                group["lr"] = float(schedule.lr_S[step.stage])
            own = slice(step.first_sample, step.first_sample + step.batch_size)
            columns = start_N[own, None] + torch.arange(T + 1)
            window = blocks["train"][block_N[own, None], columns].to(report.device)
            loss = functional.cross_entropy(model(window[:, :-1]).mT, window[:, 1:])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            loss_sum += loss.item() * step.batch_size
            num_seen += step.batch_size
        val_loss, val_correct = evaluate(model, blocks["val"], report.device)
        test_correct = None
        if number == schedule.num_reports and report.needs_test:
            _, test_correct = evaluate(model, blocks["test"], report.device)
        report(
            val_accuracy=val_correct.float().mean(),
            val_loss=val_loss,
            train_loss=loss_sum / num_seen,
            test_correct=test_correct,
            state={"model": model.state_dict(), "optimizer": optimizer.state_dict()},
        )


@torch.inference_mode()
def evaluate(model: nn.Module, blocks: Tensor, device: str) -> tuple[float, Tensor]:
    """Mean loss in nats, and one bool per predicted character, always in the same order."""
    model.eval()
    windows = blocks.unfold(1, T + 1, T).flatten(0, 1).to(device)
    logits = model(windows[:, :-1])
    loss = functional.cross_entropy(logits.mT, windows[:, 1:])
    return loss.item(), (logits.argmax(-1) == windows[:, 1:]).flatten()


if __name__ == "__main__":
    import sys

    import tuner

    words = dict(word.split("=", 1) for word in sys.argv[1:])  # e.g. epochs=2

    settings = {
        "space": ["poly", "cosine"],
        "dataset.train_examples": 1024,
        "lr": 0.01,
        "batch.initial": 16,
        "epochs": 6,
        "optimizer": "adamw",
        "trials": 5,
        "confirm.seeds": 3,
    }
    run = tuner.search(trainable=train, settings=settings | words)
    print(run.compare().verdict)
