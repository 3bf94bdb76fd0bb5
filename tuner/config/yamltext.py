"""How is YAML read and written here? As plain data: no tags, no twice-named key, no bomb.

YAML 1.1 as PyYAML has it, but 1e-3 is a number, and a date or 1:30 is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import yaml

from tuner.config.schema import ConfigError

MAX_DEPTH = 20  # of lists and mappings in each other
MAX_VALUES = 100_000  # aliases written out: a file of 319 bytes may stand for 10^9 values
FLOAT = "tag:yaml.org,2002:float"
TIMESTAMP = "tag:yaml.org,2002:timestamp"
NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$")  # 1e-3 and 1.5e3


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        line = event.start_mark.line + 1
        if getattr(event, "tag", None) is not None:
            raise ConfigError(f"a YAML tag is not allowed in a config file (line {line})")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ConfigError(f"line {line} is nested deeper than {MAX_DEPTH}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_document(self, node: Any) -> Any:
        if _num_values(node, {}) > MAX_VALUES:
            raise ConfigError(f"holds more than {MAX_VALUES:,} values, its aliases written out")
        return super().construct_document(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = set()
        for name in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if name in names and name != "<<":
                line = node.start_mark.line + 1
                raise ConfigError(f"duplicate key {name!r} in the mapping of line {line}")
            names.add(name)
        return super().construct_mapping(node, deep=deep)


def _number(kind: str) -> Callable[[Any, Any], Any]:
    """How a number is read: 1:30 is text, not 90 (and a long one of this kind takes minutes)."""
    read = getattr(yaml.SafeLoader, f"construct_yaml_{kind}")
    return lambda loader, node: node.value if ":" in node.value else read(loader, node)


def _num_values(node: Any, known: dict[int, float]) -> float:
    """Values in the node, an alias counted as what it stands for; inf where one holds itself."""
    if id(node) not in known:
        known[id(node)] = math.inf  # until it is known; who meets it before is inside it
        inner = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            inner = [side for pair in inner for side in pair]
        known[id(node)] = 1 + sum(_num_values(part, known) for part in inner)
    return known[id(node)]


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(FLOAT, NUMBER, list("-+.0123456789"))
for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _number(_kind))
_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != TIMESTAMP]
    for first, pairs in _Loader.yaml_implicit_resolvers.items()
}


def read_yaml(text: str) -> Any:
    """The data in a YAML text.

    Raises:
        ConfigError: with the line that cannot be read.
    """
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
