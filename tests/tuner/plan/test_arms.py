"""The arms of a plan: what of a space's ranges can be trained is known before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.config.compose import compose
from tuner.config.schema import ConfigError
from tuner.plan.plan import make_plan


def test_an_arm_is_checked_by_the_noise_law_of_its_own_optimizer(tmp_path: Path) -> None:
    # Under law shb part of delta does not depend on the batch (beta_hat K^2): a decay by the
    # batch alone would have to change lr as well, which every trial of the arm refuses.
    text = "family: exp\noptimizer: shb\nsplit: 0\ninterval: 2\nend_ratio: 0.1\n"
    (tmp_path / "mine.yaml").write_text(text)
    words = [f"space={tmp_path / 'mine.yaml'}", "optimizer.nesterov=false", "noise.k=5"]
    with pytest.raises(ConfigError, match=r"^spaces\.mine: .*split") as caught:
        make_plan(compose([*words, "noise.c2=1"]))
    assert "\n" not in str(caught.value)
