"""Are the versions that CI passes with all written down? constraints.txt and pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().split()
    return {canonical(name): Version(v) for name, v in (line.split("==") for line in lines)}


def asked(texts: Iterable[str]) -> Iterator[Requirement]:
    """What these lines of pyproject.toml name, extras of our own unfolded."""
    for requirement in map(Requirement, texts):
        if requirement.name == PROJECT["name"]:
            for extra in requirement.extras:
                yield from asked(EXTRAS[extra])
        else:
            yield requirement


def needed() -> set[str]:
    """Packages of `pip install '.[dev]'`, and what those of them that are here need."""
    todo = list(asked([*PROJECT["dependencies"], *EXTRAS["dev"]]))
    found: dict[str, set[str]] = {}
    while todo:
        requirement = todo.pop()
        name, extras = canonical(requirement.name), {"", *requirement.extras}
        if extras <= found.get(name, set()):
            continue
        found[name] = found.get(name, set()) | extras
        try:
            lines = requires(name) or ()
        except PackageNotFoundError:
            continue
        for inner in map(Requirement, lines):
            marker = inner.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(inner)
    return {*found}


@pytest.mark.slow
def test_every_package_that_the_tests_install_has_its_version() -> None:
    assert needed() - {*pins()} == set()


def test_the_versions_lie_in_the_ranges_of_the_project() -> None:
    known = pins()
    for requirement in asked([*PROJECT["dependencies"], *EXTRAS["dev"]]):
        assert requirement.specifier.contains(known[canonical(requirement.name)]), requirement
