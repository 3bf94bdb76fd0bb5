"""Do our arms rank as the published ones did?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.figure import Figure

from results.arms.choice import chosen_row, confirm_rows, group_by_arm, params_of
from results.arms.scores import confirm_scores
from results.measurements.published import PublishedCurve, published_curves
from results.plots.figure import Plot
from results.plots.style import color_of, subplots
from results.records.schema import Row, trial_from_row
from results.run import Run
from results.statistics.correlation import Correlation, spearman
from results.statistics.intervals import Mean, mean_of
from search_spaces.metric import VAL_ACCURACY
from search_spaces.space import SCHEDULE_PARAMS

MIN_ARMS = 4  # fewer say nothing about an order
PUBLISHED_EPOCHS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedArm:
    """An arm and the published training with the same curve; accuracies in [0, 1], losses nats."""

    name: str
    published: PublishedCurve
    accuracy: Mean
    train_loss: Mean


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedInfo:
    """Every arm that has a published twin, and the rank correlations over them."""

    arms: tuple[PublishedArm, ...]
    accuracy: Correlation | None
    train_loss: Correlation | None


def published_info(run: Run) -> PublishedInfo:
    """Arms whose chosen curve was published; none unless at least 4 were."""
    by_arm = group_by_arm(run.rows())
    scores, _ = confirm_scores(by_arm, VAL_ACCURACY.of_test)
    arms = []
    for name, rows in by_arm.items():
        chosen = chosen_row(rows)
        twin = _twin(chosen) if chosen else None
        if twin is not None and scores.get(name):
            losses = [row["final_train_loss"] for row in confirm_rows(rows)]
            accuracy = mean_of(scores[name].values())
            loss = mean_of(loss for loss in losses if loss is not None)
            arms.append(
                PublishedArm(name=name, published=twin, accuracy=accuracy, train_loss=loss)
            )
    if len(arms) < MIN_ARMS:
        return PublishedInfo(arms=(), accuracy=None, train_loss=None)
    finite = [arm for arm in arms if arm.train_loss.n]  # others diverged in every seed
    return PublishedInfo(
        arms=tuple(arms),
        accuracy=spearman(
            [a.published.last_test_accuracy for a in arms], [a.accuracy.mean for a in arms]
        ),
        train_loss=spearman(
            [a.published.last_train_loss for a in finite], [a.train_loss.mean for a in finite]
        ),
    )


def draw_published(info: PublishedInfo, figure: Figure) -> None:
    """Published against ours: test accuracy on the left, training loss on the right."""
    left, right = subplots(figure, 5.0, 1, 2)
    for arm in info.arms:
        published, color = arm.published, color_of(arm.name)
        for axes, x, ours, scale in (
            (left, published.last_test_accuracy, arm.accuracy, 100.0),
            (right, published.last_train_loss, arm.train_loss, 1.0),
        ):
            half = 0.0 if ours.low is None else ours.mean - ours.low
            axes.errorbar(scale * x, scale * ours.mean, yerr=scale * half, fmt="o", color=color,
                          capsize=3, label=published.label)  # fmt: skip
    left.set(xlabel="published test accuracy [%]", ylabel="our test accuracy [%]")
    right.set(xlabel="published training loss", ylabel="our training loss (eval mode)")
    right.set(xscale="log", yscale="log")
    left.set_title(f"ranks: {info.accuracy}", fontsize=11)
    right.set_title(f"ranks: {info.train_loss}", fontsize=11)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    num = max(arm.accuracy.n for arm in info.arms)
    figure.suptitle(
        "arXiv 2311.08745, ResNet18 on CIFAR100, 200 epochs, 3 runs without error bars, against "
        f"ours (n={num} seeds, 95% t-intervals)",
        fontsize=10,
    )


def _twin(row: Row) -> PublishedCurve | None:
    """The published training with this trial's curve, lowered every epoch by lr alone."""
    params, trial = params_of(row), trial_from_row(row)
    is_network = trial.recipe.trainer == "network"
    is_by_lr = params["split"] == 1 and not params.get("momentum_share")
    if not (is_network and is_by_lr) or params["interval"] != 1:
        return None
    if params.get("radius0") or params.get("end"):
        return None
    others = (*SCHEDULE_PARAMS, *trial.training)
    ours = {name: value for name, value in params.items() if name not in others}
    for curve in published_curves():
        if curve.family == row["family"] and _same(curve.params, ours):
            return curve
    return None


def _same(published: dict[str, float], ours: dict[str, float]) -> bool:
    theirs = dict(published)
    if "k" in theirs:  # per epoch; ours counts the end over the start
        theirs["end_ratio"] = theirs.pop("k") ** PUBLISHED_EPOCHS
    return theirs.keys() == ours.keys() and all(
        math.isclose(theirs[name], ours[name], rel_tol=1e-6) for name in theirs
    )


PUBLISHED = Plot(
    title="Published", section="Measurements", info=published_info, draw=draw_published
)
