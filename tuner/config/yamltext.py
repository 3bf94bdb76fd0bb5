"""How is YAML read and written here? As plain data: no tags, no interpolation, no twice-named key.

YAML 1.1 as PyYAML has it, but 1e-3 is a number and a date is text.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from tuner.config.schema import ConfigError

FLOAT = "tag:yaml.org,2002:float"
TIMESTAMP = "tag:yaml.org,2002:timestamp"
NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$")  # 1e-3 and 1.5e3


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for name in names:
            if names.count(name) > 1 and name != "<<":
                line = node.start_mark.line + 1
                raise ConfigError(f"duplicate key {name!r} in the mapping of line {line}")
        return super().construct_mapping(node, deep=deep)


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
