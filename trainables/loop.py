"""How is one network trained along a schedule? The loop, without ray, top to bottom.

The schedule is a table made beforehand. Each step asks it for lr and batch size, cuts that many
samples from the endless stream, and takes one optimizer step; an epoch ends with the first step
at or past e*N samples. Nothing is read back from the device before an epoch's end.
"""

from __future__ import annotations

import functools
import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.records import EpochRecord, Outcome, so_far
from search_spaces.registry import lookup
from search_spaces.schedule import Schedule, Step
from search_spaces.trial import Recipe, TrialConfig, derive_seed
from trainables import MODELS, OPTIMIZERS
from trainables.data.datasets import load_images
from trainables.data.images import ImageData, ImageSet, TensorImages
from trainables.data.sources import DataOptions
from trainables.data.splits import is_unbalanced, stratified_split
from trainables.data.stream import SampleStream, in_order
from trainables.graphs import CudaRecorder, StaticSteps
from trainables.measurements.gradients import Loss
from trainables.measurements.probe import Probes
from trainables.parameter_groups import group_factors, set_lrs, set_momentum
from trainables.perturbation import moved
from trainables.training import count_memory_anew, hardware, planned, settle_device

EVAL_BATCH = 500  # images; has no influence on results in eval mode


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Mean loss, accuracy in [0, 1] and one bool per image, in order.

    balanced_accuracy: mean over the classes that have images of the share of them that is correct.
    """

    loss: float
    accuracy: float
    balanced_accuracy: float
    correct_N: np.ndarray[Any, np.dtype[np.bool_]]


class NetworkTraining:
    """One network, one schedule, one seed; implements `Training`.

    Args:
        trial: all that determines the result.
        schedule: its table; None computes it from the trial (a user's curve that cannot be
            imported here comes as a table).
        device: "cpu", "cuda" or "cuda:k".
    """

    def __init__(
        self, trial: TrialConfig, *, schedule: Schedule | None = None, device: str = "cpu"
    ) -> None:
        recipe = trial.recipe
        torch.set_num_threads(recipe.num_threads)
        self.trial = trial
        self.schedule = schedule or trial.schedule
        self.device = torch.device(device)
        settle_device(self.device)
        count_memory_anew(self.device)
        self.data = _load_data(
            recipe.dataset,
            recipe.dataset_path,
            recipe.pool_examples,
            DataOptions(**recipe.data_options),
            str(self.device),
        )
        train, val = stratified_split(
            self.data.train.labels_N.numpy(),
            1.0 - recipe.train_examples / recipe.pool_examples,
            derive_seed(trial.seed, "split"),
        )
        self.train_set: ImageSet = self.data.train.subset(train)
        self.val_set: ImageSet = self.data.train.subset(val)
        assert len(self.train_set) == recipe.train_examples, "the schedule counts these images"
        self.counts_classes = any(
            is_unbalanced(part.labels_N.numpy()) for part in (self.data.train, self.data.test)
        )
        self.stream = SampleStream(derive_seed(trial.seed, "data"), len(self.train_set))

        torch.manual_seed(derive_seed(trial.seed, "init"))
        model = lookup("model", recipe.model, MODELS)(
            num_classes=self.data.num_classes, in_channels=self.data.channels, width=recipe.width
        )
        self.model: nn.Module = model.to(self.device, memory_format=torch.channels_last)
        self.optimizer = _make_optimizer(self.model, recipe, trial.lr0)
        self.factor_G = group_factors(self.optimizer, asked_lr=trial.lr0)
        smoothing = recipe.label_smoothing
        self.loss: Loss = nn.CrossEntropyLoss(reduction="sum", label_smoothing=smoothing)
        self.probes = Probes(recipe.measurements)
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.num_correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self.samples_seen = 0
        self.num_steps = 0
        self.batch_size = 0  # of the last step, as it came from the loader
        self.diverged = False
        self.records: list[EpochRecord] = []
        self.static = self._static_steps()

    @property
    def finished(self) -> bool:
        """True when no epoch is left, the training has diverged, or its stopping rule held."""
        is_over = self.samples_seen >= self.schedule.total_samples
        return self.diverged or is_over or self.probes.is_done

    def run_epoch(self) -> EpochRecord:
        """Train to the next evaluation point, evaluate there, and note what was really used."""
        start = time.perf_counter()
        epoch = len(self.records) + 1
        steps = list(self.schedule.steps(self.samples_seen, self.schedule.report_end(epoch)))
        loss, accuracy = self._train(steps)
        seconds = time.perf_counter() - start
        val = self.evaluate(self.val_set)
        eval_seconds = time.perf_counter() - start - seconds
        has_sense = math.isfinite(val.loss) or not len(self.val_set)
        self.diverged = not (math.isfinite(loss) and has_sense)
        record = EpochRecord(
            epoch=epoch,
            **self._used(steps[-1]),
            num_steps=len(steps),
            samples_seen=self.samples_seen,
            train_loss=loss,
            train_accuracy=accuracy,
            val_loss=val.loss,
            val_accuracy=val.accuracy,
            val_balanced_accuracy=val.balanced_accuracy if self.counts_classes else None,
            seconds=seconds,
            eval_seconds=eval_seconds,
            images_per_second=sum(s.batch_size for s in steps) / seconds,
            **self.probes.end_epoch(self, epoch),
        )
        self.records.append(record)
        return record

    def _train(self, steps: list[Step]) -> tuple[float, float]:
        """Take these steps; mean loss and accuracy over their samples."""
        self.model.train()
        self.loss_sum.zero_()
        self.num_correct.zero_()
        if self.static is not None:
            self.static.take(steps)
        else:
            plan = (self.stream.take(s.first_sample, s.batch_size) for s in steps)
            for step, (images, labels) in zip(steps, self.train_set.batches(plan), strict=True):
                self.set_rates(step.stage)
                self.update(images, labels, step.stage)
                self.count(len(labels))
        num_samples = sum(s.batch_size for s in steps)
        return self.loss_sum.item() / num_samples, self.num_correct.item() / num_samples

    def set_rates(self, stage: int) -> None:
        """Write lr and momentum of this stage into the optimizer."""
        lr, momentum = self.schedule.lr_S[stage], self.schedule.momentum_S[stage]
        set_lrs(self.optimizer, [float(lr) * factor for factor in self.factor_G])
        set_momentum(self.optimizer, float(momentum))

    def update(self, images: Tensor, labels: Tensor, stage: int) -> None:
        """One optimizer step on this batch; adds to the sums of losses and hits."""
        self.optimizer.zero_grad(set_to_none=True)
        size = self.trial.recipe.micro_batch or len(labels)
        with self._smoothed(stage):
            for x, y in zip(torch.split(images, size), torch.split(labels, size), strict=True):
                with self._autocast():
                    logits = self.model(x)
                loss = self.loss(logits.float(), y)
                torch.autograd.backward(loss / len(labels))
                self.loss_sum += loss.detach()
                self.num_correct += (logits.detach().argmax(1) == y).sum()
        self.probes.after_backward(self.model)
        if self.trial.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.trial.recipe.clip_norm)
        self.optimizer.step()

    def count(self, batch_size: int) -> None:
        """A step was taken on so many samples."""
        self.batch_size = batch_size
        self.samples_seen += batch_size
        self.num_steps += 1

    def _static_steps(self) -> StaticSteps | None:
        """On a GPU, where a step does nothing but compute: on what is resident, of our own code.

        Not where weights are moved at random, or a measurement looks at each gradient; nor with a
        model or optimizer of the user's, which may do anything.
        """
        recipe, images = self.trial.recipe, self.train_set
        is_ours = recipe.model in MODELS and recipe.optimizer in OPTIMIZERS
        is_plain = not (self.trial.params.get("radius0") or self.probes.watch_steps)
        if self.device.type != "cuda" or not (is_ours and is_plain):
            return None
        if not isinstance(images, TensorImages):
            return None
        return StaticSteps(self, images, recorder=CudaRecorder(self.device))

    def _used(self, step: Step) -> dict[str, Any]:
        """Schedule columns: lr from the optimizer, batch from the loader, the rest by table.

        The lr is that of a group whose factor is 1, or of the nearest, freed of its factor. A
        frozen group tells none; where all are frozen it is the table's, and where a GPU has it as
        a number of 24 bits.
        """
        groups = list(zip(self.factor_G, self.optimizer.param_groups, strict=True))
        trained = [(factor, group) for factor, group in groups if factor > 0]
        factor, group = min(trained or groups, key=lambda pair: abs(pair[0] - 1.0))
        used = planned(self.schedule, step)
        return used | {
            "lr": used["lr"] if self._is_tables(factor) else float(group["lr"]) / factor,
            "batch_size": self.batch_size,
            "momentum": float(group.get("momentum", 0.0)),
        }

    def _is_tables(self, factor: float) -> bool:
        return factor == 0 or (self.static is not None and self.static.keeps_lr)

    @torch.inference_mode()
    def evaluate(self, images: ImageSet) -> Evaluation:
        """Loss and accuracy in eval mode, without augmentation or label smoothing; nan of none."""
        if not len(images):
            none = np.empty(0, dtype=bool)
            return Evaluation(math.nan, math.nan, math.nan, none)
        self.model.eval()
        losses, corrects = [], []
        for x, y in images.batches(in_order(len(images), EVAL_BATCH)):
            with self._autocast():
                logits = self.model(x)
            losses.append(functional.cross_entropy(logits.float(), y, reduction="sum").double())
            corrects.append(logits.argmax(1) == y)
        correct_N = torch.cat(corrects).cpu().numpy()
        loss = torch.stack(losses).sum().item() / len(images)
        return Evaluation(
            loss=loss,
            accuracy=float(correct_N.mean()),
            balanced_accuracy=_balanced(correct_N, images.labels_N.numpy()),
            correct_N=correct_N,
        )

    def outcome(self) -> Outcome:
        """What the finished training came to; looks at the test images only to confirm.

        At all training images too, unless something is measured: of a training of the search
        nobody asks for it, and it costs a quarter of an epoch.
        """
        assert self.finished, "only a finished training has an outcome"
        recipe, confirms = self.trial.recipe, self.trial.role == "confirm"
        train = self.evaluate(self.train_set) if confirms or recipe.measurements else None
        test = self.evaluate(self.data.test) if confirms else None
        guessed = {"objective": recipe.diverged_objective} if self.diverged else {}
        if test is not None and self.diverged:
            test = replace(test, accuracy=recipe.chance, balanced_accuracy=recipe.chance)
        return Outcome(
            status="diverged" if self.diverged else "completed",
            **so_far(self.records, recipe.metric) | guessed,
            final_train_loss=train.loss if train else None,
            final_train_accuracy=train.accuracy if train else None,
            test_loss=test.loss if test else None,
            test_accuracy=test.accuracy if test else None,
            test_balanced_accuracy=(
                test.balanced_accuracy if test and self.counts_classes else None
            ),
            test_correct=np.packbits(test.correct_N).tobytes() if test else None,
            num_params=sum(p.numel() for p in self.model.parameters()),
            **hardware(self.device),
            **self.probes.end_training(self),
        )

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer, random state, data position and the records so far."""
        cuda = self.device.type == "cuda"
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer_state(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if cuda else None,
            "samples_seen": self.samples_seen,
            "num_steps": self.num_steps,
            "diverged": self.diverged,
            "measurements": self.probes.state_dict(),
            "records": [record.as_dict() for record in self.records],
        }

    def _optimizer_state(self) -> dict[str, Any]:
        """Its state, with each lr as a number where a GPU has it; the loop writes it anew."""
        state = self.optimizer.state_dict()
        for group in state["param_groups"] if self.static is not None else ():
            group["lr"] = float(group["lr"])
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()` of the same trial, bit-identically on CPU."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.static is not None:
            self.static.begin()
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
        self.samples_seen = state["samples_seen"]
        self.num_steps = state["num_steps"]
        self.diverged = state["diverged"]
        self.probes.load_state_dict(state["measurements"])
        self.records = [EpochRecord(**r) for r in state["records"]]

    def _smoothed(self, stage: int) -> AbstractContextManager[None]:
        """Explicit smoothing: the weights moved at random, by a radius that decays with delta.

        radius0 goes with the delta of lr0 and batch0, from which a warmup stays away at first.
        """
        trial = self.trial
        delta0 = trial.recipe.law.delta(trial.lr0, trial.batch0)
        radius = trial.params.get("radius0", 0.0) * float(self.schedule.delta_S[stage]) / delta0
        return moved(
            self.model, radius, self.trial.recipe.smoothing, self.trial.seed, self.num_steps
        )

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.trial.recipe.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def _make_optimizer(model: nn.Module, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """The recipe's optimizer on the model's named parameters.

    Raises:
        ValueError: a user's own takes them for plain parameters.
    """
    make = lookup("optimizer", recipe.optimizer, OPTIMIZERS)
    try:
        optimizer: torch.optim.Optimizer = make(
            model.named_parameters(),
            lr=lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
    except (AttributeError, TypeError) as error:
        if "tuple" not in str(error):
            raise
        raise ValueError(
            f"optimizer={recipe.optimizer} is given model.named_parameters(), which are pairs: "
            f"write `for name, parameter in params` ({error})."
        ) from error
    return optimizer


def _balanced(
    correct_N: np.ndarray[Any, np.dtype[np.bool_]], labels_N: np.ndarray[Any, np.dtype[np.int64]]
) -> float:
    _, class_N, sizes = np.unique(labels_N, return_inverse=True, return_counts=True)
    return float((np.bincount(class_N, weights=correct_N) / sizes).mean())


@functools.lru_cache(maxsize=1)
def _load_data(
    name: str, path: str | None, num_images: int, options: DataOptions, device: str
) -> ImageData:
    """The images on the device; kept for the next trial of the same process."""
    return load_images(name, path, num_images, options).to(torch.device(device))
