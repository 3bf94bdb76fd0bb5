"""`dataset.val_fraction=0`: all images are trained on, where nothing is selected."""

from __future__ import annotations

from pathlib import Path

import pytest

import results
from tests.fakes.tune_loop import do_without_ray
from tuner.config.compose import compose
from tuner.config.schema import ConfigError
from tuner.plan.plan import make_plan
from tuner.run import main

NONE_LEFT = "dataset.val_fraction=0"


def test_every_image_of_the_pool_is_trained_on() -> None:
    recipe = make_plan(compose(["preset=p1_methods_cpu", NONE_LEFT])).recipe
    assert recipe.train_examples == recipe.pool_examples == 1437
    assert make_plan(compose(["preset=p1_methods"])).recipe.train_examples == 50_000


@pytest.mark.parametrize(
    "words",
    [
        "space=poly",
        "preset=p1_methods_cpu space=[lr,cosine] search.sampler=tpe",
        "preset=p1_methods_cpu confirm.seeds=0",
        "preset=p1_methods_cpu spaces.lr.factor.choices=[0.5,0.7]",
    ],
)
def test_what_is_selected_needs_images_to_validate(words: str) -> None:
    with pytest.raises(ConfigError, match=r"^dataset\.val_fraction=0: nothing is left to valid"):
        make_plan(compose([*words.split(), NONE_LEFT]))


@pytest.mark.slow
def test_arms_are_confirmed_compared_and_reported_on_test_images_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    do_without_ray(monkeypatch)
    words = ["preset=p1_methods_cpu", "space=[constant,lr]", NONE_LEFT, "confirm.seeds=3"]
    small = ["epochs=5", "dataset.train_examples=200", "model.width=4", "display=plain"]
    assert main([*words, *small, f"runs_dir={tmp_path}", "name=small"]) == 0
    run = results.load(tmp_path / "small")
    rows = run.rows()
    assert len(rows) == 6
    assert {row["status"] for row in rows} == {"completed"}
    assert all(row["objective"] is None and row["test_accuracy"] > 0 for row in rows)
    assert {row["train_examples"] for row in rows} == {200}
    comparison = run.compare()
    assert {arm.n for arm in comparison.arms} == {3}
    out = capsys.readouterr().out
    assert comparison.verdict in out
    assert "validation" not in out
    assert (tmp_path / "small" / "report.html").stat().st_size > 10_000
