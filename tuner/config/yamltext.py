"""How is YAML read and written here? As plain data: no tags, no interpolation, no twice-named key.

YAML 1.1 as PyYAML has it, but 1e-3 is a number and a date is text.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import yaml

from tuner.config.schema import ConfigError

FLOAT = "tag:yaml.org,2002:float"
TIMESTAMP = "tag:yaml.org,2002:timestamp"
NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$")  # 1e-3 and 1.5e3
MAX_DEPTH = 100  # of [ and {: PyYAML takes 5 s to refuse 3,000
MAX_NODES = 100_000  # values, aliases written out: nested ones let 300 bytes become a billion


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _num_nodes(node, {}) > MAX_NODES:
            raise ConfigError(f"more than {MAX_NODES:,} values, its aliases written out")
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for name in names:
            if names.count(name) > 1 and name != "<<":
                line = node.start_mark.line + 1
                raise ConfigError(f"duplicate key {name!r} in the mapping of line {line}")
        return super().construct_mapping(node, deep=deep)


def _num_nodes(node: Any, known: dict[int, float]) -> float:
    """Values in this one, itself included; inf where it holds itself."""
    if id(node) not in known:
        known[id(node)] = math.inf
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = (part for item in inner for part in (item if isinstance(item, tuple) else (item,)))
        known[id(node)] = 1 + sum(_num_nodes(part, known) for part in parts)
    return known[id(node)]


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(FLOAT, NUMBER, list("-+.0123456789"))
_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != TIMESTAMP]
    for first, pairs in _Loader.yaml_implicit_resolvers.items()
}


def read_yaml(text: str) -> Any:
    """The data in a YAML text.

    Raises:
        ConfigError: with the line that cannot be read.
    """
    steps = ((char in "[{") - (char in "]}") for char in text)
    if max(itertools.accumulate(steps), default=0) > MAX_DEPTH:
        raise ConfigError(f"lists and mappings more than {MAX_DEPTH} deep")
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        mark = getattr(error, "problem_mark", None)
        number = min(mark.line, text.count("\n")) if mark else 0
        line = ascii("".join(text.splitlines()[number : number + 1]).strip())[:80]
        raise ConfigError(
            f"not readable as YAML: line {number + 1} is {line}; write `key: value`, a list as "
            "[a, b]"
        ) from None


def write_yaml(data: Any) -> str:
    """Plain YAML that `read_yaml` reads as the same data."""
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return str(text)
