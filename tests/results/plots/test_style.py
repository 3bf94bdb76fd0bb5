"""One colour an arm, also of several runs."""

from __future__ import annotations

import pytest
from matplotlib.colors import to_rgb

from results.plots.style import COLORS, color_of, line_style


def hue(color: str) -> int:
    """The strongest channel: a family's shades keep it."""
    rgb = to_rgb(color)
    return rgb.index(max(rgb))


def test_the_same_space_of_two_runs_has_two_shades_of_its_familys_colour():
    one, other = color_of("cosine@aaaa"), color_of("cosine@cccc")
    assert len({one, other, color_of("poly@aaaa"), color_of("poly@cccc")}) == 4
    assert hue(one) == hue(other) == hue(COLORS["cosine"])
    assert hue(color_of("poly@aaaa")) == hue(COLORS["poly"])


def test_the_same_point_of_two_runs_has_two_colours():
    assert color_of("poly p=2@aaaa") != color_of("poly p=2@cccc")


@pytest.mark.parametrize(
    "arm", ["baseline", "baseline:my own", "baseline_tuned", "lr", "hybrid", "poly"]
)
def test_an_arm_of_several_runs_keeps_its_line(arm):
    assert line_style(f"{arm}@aaaa") == line_style(arm)
