"""What do the keys mean? The key table, for `--help` and docs/keys.md."""

from __future__ import annotations

import inspect

from search_spaces import FAMILIES, SPACES
from tuner.config.presets import PRESETS
from tuner.config.schema import KEYS, MISSING
from tuner.config.workloads import WORKLOADS

SPACE_KEY = "spaces.<space>.<param>.<low|high|log|step|choices|value>"
SPACE_MEANING = "override a range, e.g. spaces.poly.p.high=2 or spaces.poly.p.value=1"


def describe_keys() -> str:
    """All keys as aligned text: name, default, allowed values, meaning."""
    rows = [
        (name, default_text(name), key.allowed.text, key.meaning) for name, key in KEYS.items()
    ]
    rows.append((SPACE_KEY, "of the space", "numbers", SPACE_MEANING))
    lines = [
        f"spaces:    {', '.join(SPACES)}",
        f"workloads: {', '.join(WORKLOADS)}",
        f"presets:   {', '.join(PRESETS)}",
        "",
    ]
    for name, default, allowed, meaning in rows:
        lines.append(f"{name} (default {default}; {allowed})")
        lines.append(f"    {meaning}")
    return "\n".join(lines)


def default_text(name: str) -> str:
    """The default as it would be typed."""
    value = KEYS[name].default
    if value is None:
        return "null"
    if value == MISSING:
        return "of the workload"
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


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
    for name, key in KEYS.items():
        cells = [f"`{name}`", key.unit, f"`{default_text(name)}`", key.allowed.text, key.meaning]
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    space_key = SPACE_KEY.replace("|", "\\|")
    lines.append(
        f"| `{space_key}` | of the parameter | of the space | numbers | {SPACE_MEANING} |"
    )
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
        told = inspect.getdoc(inspect.getmodule(family.curve)) or ""
        params = "; ".join(f"`{n}`: {p.meaning}" for n, p in family.parameters.items())
        lines.append(f"| `{name}` | {told.partition(chr(10))[0]} | {params} | {family.source} |")
    return lines


if __name__ == "__main__":
    print(markdown(), end="")
