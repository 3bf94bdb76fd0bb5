"""No pinned and no allowed version of a dependency has a vulnerability that is known."""

from __future__ import annotations

import json
import tomllib
from datetime import date
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import ROOT
from tests.security.audit import SNAPSHOT, known, main, pinned

ADVISORIES = json.loads(SNAPSHOT.read_text())["advisories"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def ranges() -> list[Requirement]:
    """Of the project itself and of all its extras."""
    extras = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    return [one for one in map(Requirement, lines) if one.name != "gradtune"]


def test_pinned_versions_have_no_known_vulnerability() -> None:
    assert len(pinned()) > 100
    assert known(pinned()) == []


@pytest.mark.parametrize("advisory", ADVISORIES, ids=[a["id"] for a in ADVISORIES])
def test_the_oldest_allowed_version_is_not_vulnerable(advisory: dict[str, str]) -> None:
    lowest = [
        Version(spec.version)
        for one in ranges()
        if canonicalize_name(one.name) == canonicalize_name(advisory["package"])
        for spec in one.specifier
        if spec.operator == ">="
    ]
    assert [version for version in lowest if version < Version(advisory["fixed"])] == []


def test_every_direct_dependency_is_pinned() -> None:
    direct = {canonicalize_name(line.name) for line in map(Requirement, PROJECT["dependencies"])}
    assert direct - {*pinned()} == set()


def test_an_old_version_is_told_with_its_advisory(tmp_path: Path) -> None:
    path = tmp_path / "constraints.txt"
    path.write_text("# of last year\nRay==2.54.0\ntorch==2.15.0\n")
    assert known(pinned(path)) == [
        "ray 2.54.0: CVE-2026-41486 (the schema of a Parquet file runs code); fixed in 2.55.0"
    ]


def test_the_snapshot_is_dated_and_whole() -> None:
    assert date.fromisoformat(json.loads(SNAPSHOT.read_text())["collected"]) >= date(2026, 11, 26)
    for advisory in ADVISORIES:
        assert advisory.keys() == {"package", "id", "fixed", "what"}
        assert Version(advisory["fixed"])
    assert len({(a["package"], a["id"]) for a in ADVISORIES}) == len(ADVISORIES)


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (([], "no network?"), 0, "skipped: what is newer (no network?)"),
        (([], ""), 0, "pip-audit was asked too"),
        ((["ray 2.60.0: CVE-2027-1; fixed in 2.61.0"], ""), 1, "ray 2.60.0: CVE-2027-1"),
    ],
)
def test_without_a_network_the_audit_passes_and_says_what_it_did_not_see(
    answer: tuple[list[str], str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(lambda: answer) == code
    assert told in capsys.readouterr().out
