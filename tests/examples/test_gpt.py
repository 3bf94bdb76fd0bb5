"""The example of a language model: by torch's own layers, and by the table it has to follow."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from examples import gpt
from results.exports.snippet import export_schedule
from search_spaces.trial import TrialConfig
from tests.trainables.user.test_user_training import measured, saved, user_trial
from tests.trainables.user.threads import InThread
from trainables.user.adapter import UserTraining

torch.set_num_threads(1)
V = 11


@pytest.fixture
def model() -> gpt.GPT:
    torch.manual_seed(0)
    return gpt.GPT(V)


def windows(count: int, seed: int = 0) -> Tensor:
    return torch.randint(V, (count, gpt.T + 1), generator=torch.Generator().manual_seed(seed))


def growing_trial(**kwargs: Any) -> TrialConfig:
    """3 epochs of 24 windows; the batch grows beyond a micro batch."""
    recipe = {"model": "examples.gpt:train", "train_examples": 24, "epochs": 3, "batch0": 8}
    params = {"split": 0.0, "p": 1.0, "interval": 1}
    trial = user_trial(recipe=recipe | {"optimizer": "adamw"}, params=params, **kwargs)
    trial = replace(trial, lr0=2e-3)
    assert trial.schedule.batch_size_S.max() > gpt.MICRO_BATCH
    return trial


def finish(trial: TrialConfig) -> UserTraining:
    training = InThread(trial)
    while not training.finished:
        training.run_epoch()
    return training


def test_a_block_is_torchs_own_encoder_layer_under_a_causal_mask(model: gpt.GPT) -> None:
    block = model.blocks[0]
    assert isinstance(block, gpt.Block)
    layer = nn.TransformerEncoderLayer(
        gpt.C, gpt.H, 4 * gpt.C, 0.0, functional.gelu, batch_first=True, norm_first=True
    )
    parts = ("weight", "bias")
    pairs = {
        "self_attn.in_proj_": block.qkv,
        "self_attn.out_proj.": block.out,
        "linear1.": block.up,
        "linear2.": block.down,
        "norm1.": block.norm1,
        "norm2.": block.norm2,
    }
    state = {name + part: getattr(of, part) for name, of in pairs.items() for part in parts}
    layer.load_state_dict(state)
    x = torch.randn(2, gpt.T, gpt.C)
    mask = nn.Transformer.generate_square_subsequent_mask(gpt.T)
    torch.testing.assert_close(block(x), layer(x, src_mask=mask), atol=1e-5, rtol=1e-5)


def test_no_character_sees_a_later_one(model: gpt.GPT) -> None:
    ids = windows(1)[:, :-1]
    changed = ids.clone()
    changed[:, 40:] = (changed[:, 40:] + 1) % V
    before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :40], after[:, :40])
    assert not torch.allclose(before[:, 40:], after[:, 40:])


def test_the_embedding_is_the_last_layer_too(model: gpt.GPT) -> None:
    # One matrix of V x C, positions, and 12 C^2 + 13 C of each block with two norms in it.
    per_block = 12 * gpt.C**2 + 13 * gpt.C
    expected = V * gpt.C + gpt.T * gpt.C + gpt.NUM_LAYERS * per_block + 2 * gpt.C
    assert sum(weight.numel() for weight in model.parameters()) == expected


def test_matrices_and_embeddings_decay_and_nothing_else(model: gpt.GPT) -> None:
    decayed, others = gpt.make_optimizer(model).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (gpt.WEIGHT_DECAY, 0.0)
    names = {id(weight): name for name, weight in model.named_parameters()}
    kept = [names.pop(id(weight)) for weight in others["params"]]
    assert all(name.endswith("bias") or "norm" in name for name in kept)
    assert sorted(names) == sorted(map(id, decayed["params"]))


@pytest.mark.parametrize(("batch", "micro"), [(12, 4), (10, 4), (7, 1), (5, 16)])
def test_accumulated_gradients_are_those_of_the_whole_batch(
    model: gpt.GPT, batch: int, micro: int
) -> None:
    window = windows(batch)
    loss = functional.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
    expected = torch.autograd.grad(loss, list(model.parameters()))
    assert gpt.add_gradients(model, window, micro) == pytest.approx(loss.item(), abs=1e-5)
    for weight, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient, atol=1e-5, rtol=1e-5)


def test_a_step_takes_the_lr_it_is_given(model: gpt.GPT) -> None:
    # AdamW's first step moves a weight by lr g / |g| and by lr * weight decay * weight.
    optimizer, lr = gpt.make_optimizer(model), 1e-4
    before = [weight.detach().clone() for weight in model.parameters()]
    gpt.train_step(model, optimizer, windows(4), lr)
    assert {group["lr"] for group in optimizer.param_groups} == {lr}
    for weight, old in zip(model.parameters(), before, strict=True):
        most = lr * (1 + gpt.WEIGHT_DECAY * old.abs().max().item())
        assert (weight - old).abs().max().item() <= most * (1 + 1e-3)


def test_every_step_uses_the_lr_and_the_batch_of_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[tuple[float, int]] = []

    def spy(model: nn.Module, optimizer: Any, window_BT: Tensor, lr: float) -> float:
        used.append((lr, len(window_BT)))
        return 1.0

    monkeypatch.setattr(gpt, "train_step", spy)
    monkeypatch.setattr(gpt, "NUM_HELD_OUT", 8)
    trial = growing_trial()
    finish(trial)
    table = trial.schedule
    expected = [(float(table.lr_S[s.stage]), s.batch_size) for s in table.steps()]
    assert used == expected


@pytest.mark.slow
def test_loss_falls_from_that_of_guessing(model: gpt.GPT) -> None:
    data, num_characters = gpt.read_windows(0)
    torch.manual_seed(0)
    model = gpt.GPT(num_characters)
    optimizer = gpt.make_optimizer(model)
    first, _ = gpt.evaluate(model, data["val"][:16], "cpu")
    assert first == pytest.approx(math.log(num_characters), abs=0.1)
    for step in range(30):
        gpt.train_step(model, optimizer, data["train"][4 * step : 4 * step + 4], 3e-3)
    last, share = gpt.evaluate(model, data["val"][:16], "cpu")
    assert last < first - 1
    assert share > 0.15


def test_the_parts_of_the_text_have_no_window_in_common() -> None:
    data, _ = gpt.read_windows(0)
    other, _ = gpt.read_windows(1)
    assert torch.equal(data["test"], other["test"])
    assert not torch.equal(data["val"], other["val"])
    sizes = {part: len(windows) for part, windows in data.items()}
    assert sizes["val"] == sizes["test"] == gpt.NUM_HELD_OUT
    whole = torch.cat([*data.values()])
    again = torch.cat([*other.values()])
    assert sorted(map(tuple, whole.tolist())) == sorted(map(tuple, again.tolist()))


@pytest.mark.slow
def test_an_interrupted_training_and_one_along_its_export_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpt, "NUM_HELD_OUT", 8)
    trial = growing_trial(role="confirm", seed=5)
    whole = finish(trial)
    begun = InThread(trial)
    begun.run_epoch()
    resumed = InThread(trial)
    resumed.load_state_dict(saved(begun))
    while not resumed.finished:
        resumed.run_epoch()
    assert str(measured(resumed.records)) == str(measured(whole.records))  # nan is nan
    outcome = whole.outcome()
    assert outcome.test_loss is not None
    assert outcome.test_loss == resumed.outcome().test_loss
    export_schedule(trial, tmp_path)
    assert gpt.train_along(tmp_path, seed=5) == outcome.test_loss
