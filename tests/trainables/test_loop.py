"""The training loop: what it used equals the table, and nothing but the trial matters."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import nn

from search_spaces.records import EpochRecord
from search_spaces.trial import TrialConfig
from tests.fakes import trials as fakes_trials
from tests.fakes.trials import TIMES
from trainables import DATASETS, MODELS, OPTIMIZERS, loop
from trainables.checkpoints import Checkpoints, SupersededError, read_newest
from trainables.data.images import ImageSet, TensorImages
from trainables.data.stream import SampleStream, in_order
from trainables.loop import Evaluation, NetworkTraining
from trainables.trainable import ScheduledTrainable

small_trial = functools.cache(fakes_trials.small_trial)  # reading the command line takes longest


def train(trial: TrialConfig, epochs: int | None = None) -> NetworkTraining:
    training = NetworkTraining(trial)
    while not training.finished and (epochs is None or len(training.records) < epochs):
        training.run_epoch()
    return training


def measured(records: list[EpochRecord]) -> list[dict[str, object]]:
    """The records without what a clock decides."""
    return [{k: v for k, v in dataclasses.asdict(r).items() if k not in TIMES} for r in records]


def pixels(images: ImageSet) -> torch.Tensor:
    """(N, H, W, C) uint8."""
    held = images.to(torch.device("cpu"))
    assert isinstance(held, TensorImages)
    return held.images_NHWC


def weights(training: NetworkTraining) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in training.model.state_dict().values()]


def assert_equal(a: NetworkTraining, b: NetworkTraining) -> None:
    """Bit for bit: records, weights, optimizer state and outcome."""
    assert measured(a.records) == measured(b.records)
    for x, y in zip(weights(a), weights(b), strict=True):
        assert torch.equal(x, y)
    ours, theirs = dataclasses.asdict(a.outcome()), dataclasses.asdict(b.outcome())
    for name in ("train_seconds", "peak_memory_bytes"):
        del ours[name], theirs[name]
    assert ours == theirs


@pytest.fixture(scope="module")
def whole() -> NetworkTraining:
    """The small trial, trained to its end; nobody may change it."""
    return train(small_trial())


@pytest.fixture(scope="module")
def confirmed() -> NetworkTraining:
    """The same to confirm."""
    return train(small_trial(role="confirm"))


def test_what_optimizer_and_loader_really_used_equals_the_table() -> None:
    training = NetworkTraining(small_trial("batch.initial=16"))
    used: list[tuple[float, int]] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        used.append((optimizer.param_groups[0]["lr"], batches[-1]))

    batches: list[int] = []
    training.model.register_forward_pre_hook(
        lambda module, inputs: batches.append(len(inputs[0])) if module.training else None
    )
    training.optimizer.register_step_post_hook(note)
    while not training.finished:
        training.run_epoch()
    table = training.schedule
    planned = [
        (float(table.lr_S[step.stage]), int(table.batch_size_S[step.stage]))
        for step in table.steps()
    ]
    assert used == planned
    assert len({batch for _, batch in used}) == 3
    assert sum(batch for _, batch in used) == training.samples_seen
    assert [r.num_steps for r in training.records] == [
        sum(1 for _ in table.steps(first, last))
        for first, last in zip(
            [0, *[r.samples_seen for r in training.records[:-1]]],
            [table.epoch_end(r.epoch) for r in training.records],
            strict=True,
        )
    ]


def test_records_hold_the_values_of_each_epochs_last_step() -> None:
    training = train(small_trial("batch.initial=16"))
    for record in training.records:
        first = training.records[record.epoch - 2].samples_seen if record.epoch > 1 else 0
        last = list(training.schedule.steps(first, training.schedule.epoch_end(record.epoch)))[-1]
        assert record.stage == last.stage
        assert record.lr == training.schedule.lr_S[last.stage]
        assert record.batch_size == last.batch_size
        assert record.delta == training.schedule.delta_S[last.stage]
        law = training.trial.recipe.law
        assert law.delta(record.lr, record.batch_size) == pytest.approx(record.delta, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [1, 2])
def test_interrupted_equals_uninterrupted_bit_for_bit(
    stop_after: int, whole: NetworkTraining
) -> None:
    trial = small_trial()
    first = train(trial, epochs=stop_after)
    state = json.loads(json.dumps({k: v for k, v in first.state_dict().items() if k == "records"}))
    resumed = NetworkTraining(trial)
    resumed.load_state_dict(first.state_dict() | state)
    while not resumed.finished:
        resumed.run_epoch()
    assert_equal(resumed, whole)


@pytest.mark.slow
def test_a_used_process_trains_as_a_fresh_one(whole: NetworkTraining) -> None:
    train(small_trial(space="poly", replicate=3, role="confirm"))
    torch.rand(1000)
    assert_equal(train(small_trial()), whole)


def test_another_replicate_trains_on_another_split_and_order() -> None:
    a = NetworkTraining(small_trial(replicate=0))
    b = NetworkTraining(small_trial(replicate=1))
    assert not torch.equal(pixels(a.train_set), pixels(b.train_set))
    assert not np.array_equal(a.stream.take(0, 50).index_B, b.stream.take(0, 50).index_B)


def test_arms_of_one_replicate_see_the_same_samples_from_the_same_weights() -> None:
    a = NetworkTraining(small_trial(space="poly"))
    b = NetworkTraining(small_trial(space="batch"))
    assert torch.equal(pixels(a.train_set), pixels(b.train_set))
    np.testing.assert_array_equal(a.stream.take(0, 99).draws_BD, b.stream.take(0, 99).draws_BD)
    for x, y in zip(weights(a), weights(b), strict=True):
        assert torch.equal(x, y)


def test_the_stream_neither_loses_nor_repeats_a_sample_whatever_the_batches() -> None:
    stream = SampleStream(seed=3, num_examples=17)
    whole = stream.take(0, 51)
    for epoch in range(3):
        assert sorted(whole.index_B[17 * epoch : 17 * epoch + 17]) == list(range(17))
    pieces = [stream.take(first, count) for first, count in [(0, 5), (5, 30), (35, 16)]]
    np.testing.assert_array_equal(np.concatenate([p.index_B for p in pieces]), whole.index_B)
    np.testing.assert_array_equal(np.concatenate([p.draws_BD for p in pieces]), whole.draws_BD)


def test_train_loss_is_the_mean_over_samples_not_over_batches() -> None:
    trial = small_trial("batch.initial=64", space="constant")
    training = NetworkTraining(trial)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    training.model.register_forward_hook(
        lambda module, inputs, output: seen.append(output.detach()) if module.training else None
    )
    labels: list[torch.Tensor] = []
    real = training.train_set.labels_N
    steps = list(training.schedule.steps(0, training.schedule.epoch_end(1)))
    for step in steps:
        index = training.stream.take(step.first_sample, step.batch_size).index_B
        labels.append(real[torch.from_numpy(index)])
    record = training.run_epoch()
    losses = [
        nn.functional.cross_entropy(logits, y, reduction="none")
        for logits, y in zip(seen, labels, strict=True)
    ]
    assert record.train_loss == pytest.approx(torch.cat(losses).double().mean().item(), rel=1e-6)


def test_a_huge_lr_is_told_as_diverged_with_chance_as_objective() -> None:
    trial = dataclasses.replace(small_trial(space="constant"), lr0=1e18)
    training = train(trial)
    outcome = training.outcome()
    assert outcome.status == "diverged"
    assert outcome.objective == pytest.approx(0.1)
    assert len(training.records) < 3


@pytest.mark.slow
def test_only_confirm_trials_look_at_the_test_images(
    whole: NetworkTraining, confirmed: NetworkTraining
) -> None:
    searched, outcome = whole.outcome(), confirmed.outcome()
    assert (searched.test_loss, searched.test_accuracy, searched.test_correct) == (None,) * 3
    bits = np.unpackbits(np.frombuffer(outcome.test_correct, dtype=np.uint8))[:360]
    assert outcome.test_accuracy == pytest.approx(bits.mean())


def recall_mean(training: NetworkTraining, images: ImageSet) -> float:
    """By scikit-learn."""
    training.model.eval()
    (x, y), *_ = images.batches(in_order(len(images), len(images)))
    with torch.no_grad():
        guesses = training.model(x).argmax(1)
    return float(metrics.balanced_accuracy_score(y.numpy(), guesses.numpy()))


@pytest.mark.slow
def test_balanced_accuracy_stands_beside_accuracy_where_classes_are_unbalanced(
    monkeypatch: pytest.MonkeyPatch, whole: NetworkTraining
) -> None:
    assert whole.records[-1].val_balanced_accuracy is None
    assert whole.outcome().test_balanced_accuracy is None
    data = whole.data
    train_set, test_set = (
        dataclasses.replace(part, labels_N=torch.where(part.labels_N < 6, 0, part.labels_N))
        for part in (data.train, data.test)
    )
    merged = dataclasses.replace(data, train=train_set, test=test_set)
    monkeypatch.setattr(loop, "_load_data", lambda *_: merged)
    training = train(small_trial(role="confirm"))
    last, outcome = training.records[-1], training.outcome()
    assert last.val_balanced_accuracy == pytest.approx(recall_mean(training, training.val_set))
    assert outcome.test_balanced_accuracy == pytest.approx(recall_mean(training, test_set))
    assert outcome.test_balanced_accuracy < outcome.test_accuracy - 0.01
    training.diverged = True
    assert training.outcome().test_balanced_accuracy == training.trial.recipe.chance
    training.trial = small_trial()
    assert training.outcome().test_balanced_accuracy is None


def test_final_train_loss_is_measured_in_eval_mode_over_the_whole_training_set(
    confirmed: NetworkTraining,
) -> None:
    outcome = confirmed.outcome()
    confirmed.model.eval()
    with torch.no_grad():
        images_NCHW = pixels(confirmed.train_set).permute(0, 3, 1, 2).float() / 255
        normalization = confirmed.train_set.normalization
        x = (images_NCHW - normalization.mean[0]) / normalization.std[0]
        logits, labels = confirmed.model(x), confirmed.train_set.labels_N
        loss = nn.functional.cross_entropy(logits, labels)
    assert outcome.final_train_loss == pytest.approx(loss.item(), rel=1e-4)
    right = (logits.argmax(1) == labels).double().mean().item()
    assert outcome.final_train_accuracy == pytest.approx(right)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "words", "is_used"),
    [
        ("search", (), False),
        ("select", (), False),
        ("confirm", (), True),
        ("search", ("measure=[sharpness]",), True),
    ],
)
def test_all_training_images_are_looked_at_where_it_is_used(
    role: str, words: tuple[str, ...], is_used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = NetworkTraining(small_trial(*words, role=role))
    evaluate, sizes = training.evaluate, list[int]()

    def note(images: ImageSet) -> Evaluation:
        sizes.append(len(images))
        return evaluate(images)

    monkeypatch.setattr(training, "evaluate", note)
    monkeypatch.setattr(type(training), "finished", property(lambda _: True))
    training.run_epoch()
    outcome = training.outcome()
    assert (outcome.final_train_loss is not None) == is_used
    assert (outcome.final_train_accuracy is not None) == is_used
    assert sizes.count(len(training.train_set)) == is_used


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("micro_batch=8",), ("optimizer.clip_norm=0.5",), ("label_smoothing=0.1",)]
)
def test_options_change_the_training(words: tuple[str, ...], whole: NetworkTraining) -> None:
    changed = train(small_trial(*words), epochs=1)
    assert whole.records[0].train_loss != changed.records[0].train_loss


def test_clipping_bounds_the_step() -> None:
    words = ("optimizer.clip_norm=1e-3", "optimizer.momentum=0", "optimizer.nesterov=false")
    trial = small_trial(*words, "optimizer.weight_decay=0", space="constant")
    training = NetworkTraining(trial)
    before = [p.detach().clone() for p in training.model.parameters()]
    training._train(list(training.schedule.steps(0, 1)))
    moved = sum(
        ((p - q) ** 2).sum() for p, q in zip(training.model.parameters(), before, strict=True)
    )
    assert moved.sqrt().item() == pytest.approx(1e-3 * trial.lr0, rel=1e-3)


@pytest.mark.slow
def test_bf16_trains_close_to_fp32(whole: NetworkTraining) -> None:
    bf16 = train(small_trial("precision=bf16"))
    assert bf16.records[-1].train_loss == pytest.approx(whole.records[-1].train_loss, rel=0.2)
    assert bf16.records[-1].train_loss != whole.records[-1].train_loss


def test_adamw_trains_along_a_schedule() -> None:
    words = ("optimizer=adamw", "optimizer.momentum=0", "optimizer.nesterov=false", "lr=0.003")
    training = train(small_trial(*words, space="poly"))
    assert training.records[-1].train_loss < training.records[0].train_loss


@pytest.mark.parametrize("registry", [MODELS, DATASETS, OPTIMIZERS])
def test_every_registry_names_something_that_can_be_imported(registry: dict[str, str]) -> None:
    from search_spaces.registry import lookup

    for name in registry:
        assert callable(lookup("entry", name, registry))


def trainable_config(trial: TrialConfig, directory: object) -> dict[str, object]:
    return {"trial": json.dumps(trial.to_dict()), "checkpoints": str(directory), "device": "cpu"}


def drive(trainable: ScheduledTrainable, steps: int = 100) -> list[dict[str, object]]:
    results = []
    while len(results) < steps and not (results and results[-1]["done"]):
        results.append(trainable.train())
    return results


def all_records(results: list[dict[str, object]]) -> list[dict[str, object]]:
    records = [r for result in results for r in result["records"]]
    return [{k: v for k, v in r.items() if k not in TIMES} for r in records]


@pytest.mark.fault("30", "the same through the worker that Ray uses again")
@pytest.mark.slow
def test_a_reused_actor_reports_what_a_fresh_one_does(tmp_path: Path) -> None:
    trial, other = small_trial(), small_trial(space="poly", replicate=1)
    fresh = drive(ScheduledTrainable(trainable_config(trial, tmp_path / "a")))
    used = ScheduledTrainable(trainable_config(other, tmp_path / "b"))
    drive(used)
    used.reset(trainable_config(trial, tmp_path / "b"))
    assert all_records(drive(used)) == all_records(fresh)


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "counts"), [(0.0, [1, 1, 1]), (1000.0, [3])])
def test_reports_that_come_fast_travel_together(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: NetworkTraining,
    seconds: float,
    counts: list[int],
) -> None:
    monkeypatch.setattr(ScheduledTrainable, "report_seconds", seconds)
    results = drive(ScheduledTrainable(trainable_config(small_trial(), tmp_path)))
    assert [len(result["records"]) for result in results] == counts
    assert all_records(results) == measured(whole.records)
    assert [result["done"] for result in results] == [False] * (len(counts) - 1) + [True]


def test_reports_travel_no_further_than_the_training_goes_for_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScheduledTrainable, "report_seconds", 1000.0)
    paused = drive(
        ScheduledTrainable(trainable_config(dataclasses.replace(small_trial(), until=2), tmp_path))
    )
    assert [(len(r["records"]), r["status"]) for r in paused] == [(2, "paused")]


def test_a_worker_that_died_is_continued_and_its_epochs_are_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: NetworkTraining
) -> None:
    monkeypatch.setattr("trainables.trainable.SAVE_PAYS", 0.0)
    trial = small_trial()
    drive(ScheduledTrainable(trainable_config(trial, tmp_path)), steps=2)
    resumed = drive(ScheduledTrainable(trainable_config(trial, tmp_path)))
    assert [len(r["records"]) for r in resumed] == [3]
    assert resumed[0]["attempt"] == 2
    assert all_records(resumed) == measured(whole.records)
    assert resumed[-1]["objective"] == whole.outcome().objective


@pytest.mark.slow
def test_states_are_saved_no_more_often_than_it_pays_and_the_last_is_told_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: NetworkTraining
) -> None:
    monkeypatch.setattr("trainables.trainable.SAVE_PAYS", 1e9)
    trial = small_trial()
    first = drive(ScheduledTrainable(trainable_config(trial, tmp_path)))
    names = sorted(p.name[:5] for p in (tmp_path / trial.trial_key).glob("*.pt"))
    assert names == ["00001", "00003"]  # the first, before the cost is known, and the last
    again = drive(ScheduledTrainable(trainable_config(trial, tmp_path)))
    assert len(again) == 1
    assert all_records(again) == all_records(first) == measured(whole.records)


@pytest.mark.fault("12", "newest state empty, other bytes, flipped: the one before is read")
@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, damage: bytes | None
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"epoch": 1})
    checkpoints.save(2, {"epoch": 2})
    newest = max(tmp_path.glob("00002-*.pt"))
    content = newest.read_bytes()
    flipped = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
    newest.write_bytes(flipped if damage is None else damage)
    assert read_newest(tmp_path) == {"epoch": 1}


def test_a_superseded_attempt_may_not_write(tmp_path: Path) -> None:
    zombie = Checkpoints(tmp_path)
    zombie.save(1, {"epoch": 1})
    assert Checkpoints(tmp_path).attempt == 2
    with pytest.raises(SupersededError):
        zombie.save(2, {"epoch": 2})


def test_only_the_newest_two_states_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for epoch in range(1, 6):
        checkpoints.save(epoch, {"epoch": epoch})
    assert [p.name[:5] for p in sorted(tmp_path.glob("*.pt"))] == ["00004", "00005"]
