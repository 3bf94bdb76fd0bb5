"""Decay families, one a file: the registry."""

from __future__ import annotations

from search_spaces.families import constant, cosine, cosine_power, exp, poly, power_cool, wsd
from search_spaces.families.family import Family, Parameter

FAMILIES: dict[str, Family] = {
    "poly": poly.FAMILY,
    "cosine": cosine.FAMILY,
    "exp": exp.FAMILY,
    "wsd": wsd.FAMILY,
    "cosine_power": cosine_power.FAMILY,
    "constant": constant.FAMILY,
    "power_cool": power_cool.FAMILY,
    "wsd_power_cool": wsd.cooldown(power_cool.FAMILY, color="orange"),
    "wsd_cosine": wsd.cooldown(cosine.FAMILY, color="red"),
}

# By name; one name means one thing, whichever curve has it.
CURVE_PARAMETERS: dict[str, Parameter] = {
    name: parameter
    for family in FAMILIES.values()
    for name, parameter in family.parameters.items()
}
