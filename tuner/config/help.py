"""What do the keys mean? The key table, for `--help` and docs/keys.md."""

from __future__ import annotations

from collections.abc import Iterator

from search_spaces import FAMILIES, SPACES
from tuner.config.presets import PRESETS
from tuner.config.schema import KEYS, MISSING, RECIPE_KEYS, show
from tuner.config.workloads import WORKLOADS

RECIPE_KEY = "recipe.<param>"
RECIPE_MEANING = "a parameter of the baseline's curve, e.g. recipe.family=poly recipe.p=2"
SPACE_KEY = "spaces.<space>.<param>.<low|high|log|step|choices|value>"
SPACE_MEANING = (
    "a range, e.g. spaces.poly.p.high=2 or spaces.poly.p.value=1; also of "
    f"{', '.join(RECIPE_KEYS)}, or any name that your own training is handed"
)


def describe_keys() -> str:
    """All keys as text: name, default, allowed values, meaning."""
    lines = [
        f"spaces:    {', '.join(SPACES)}",
        f"workloads: {', '.join(WORKLOADS)}",
        f"presets:   {', '.join(PRESETS)}",
        "",
    ]
    for name, _, default, allowed, meaning in _rows():
        lines += [f"{name} (default {default}; {allowed})", f"    {meaning}"]
    return "\n".join(lines)


def _rows() -> Iterator[tuple[str, str, str, str, str]]:
    """Name, unit, default as it would be typed, allowed values and meaning of every key."""
    for name, key in KEYS.items():
        default = "of the workload" if key.default == MISSING else show(key.default)
        yield name, key.unit, default, key.allowed.text, key.meaning
    yield RECIPE_KEY, "of the parameter", "of the family", "a number", RECIPE_MEANING
    numbers = "numbers; step of an interval"
    yield SPACE_KEY, "of the parameter", "of the space", numbers, SPACE_MEANING


def markdown() -> str:
    """docs/keys.md."""
    lines = [
        "# Configuration keys",
        "",
        "Made by `python -m tuner.config.help > docs/keys.md`; a test compares. A workload may",
        "set other defaults (`python -m tuner.run workload=NAME --cfg` shows them).",
        "",
        "| key | unit | default | allowed | meaning |",
        "|---|---|---|---|---|",
    ]
    for name, unit, default, *words in _rows():
        cells = [
            f"`{name}`",
            unit,
            default if name in (SPACE_KEY, RECIPE_KEY) else f"`{default}`",
            *words,
        ]
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines + _families()) + "\n"


def _families() -> list[str]:
    lines = [
        *("", "## Decay families", ""),
        "Each is a space of the same name; its parameters also have columns in the records.",
        "",
        "| family | curve | parameters | source |",
        "|---|---|---|---|",
    ]
    for name, family in FAMILIES.items():
        params = "; ".join(f"`{n}`: {p.meaning}" for n, p in family.parameters.items())
        lines.append(f"| `{name}` | {family.formula} | {params} | {family.source} |")
    return lines


if __name__ == "__main__":
    print(markdown(), end="")
