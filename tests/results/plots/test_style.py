"""One colour an arm, also of several runs."""

from __future__ import annotations

import pytest
from matplotlib.colors import to_rgb

from results.plots.style import COLORS, arm_looks, color_of, line_style


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


POINTS = ("poly p=0.5", "poly p=2", "poly interval=step", "poly p=0", "poly delta0=1e400,p=-1")


def test_points_of_a_space_have_shades_of_its_colour_whatever_their_values():
    colors = {color_of(name) for name in POINTS}
    assert len(colors) == len(POINTS)
    assert {hue(color) for color in colors} == {hue(COLORS["poly"])}


def test_points_of_one_space_are_drawn_from_dark_to_light_without_its_name():
    looks = arm_looks(POINTS)
    lightness = [sum(to_rgb(look.color)) for look in looks.values()]
    assert lightness == sorted(lightness)
    assert [look.label for look in looks.values()] == [name[5:] for name in POINTS]
    assert {n: look.color for n, look in arm_looks(["poly", "cosine"]).items()} == {
        name: COLORS[name] for name in ("poly", "cosine")
    }


@pytest.mark.parametrize(
    "arm", ["baseline", "baseline:my own", "baseline_tuned", "lr", "hybrid", "poly"]
)
def test_an_arm_of_several_runs_keeps_its_line(arm):
    assert line_style(f"{arm}@aaaa") == line_style(arm)
