"""What a run had and what is here now: which versions differ, and since when."""

from __future__ import annotations

from typing import Any

import pytest

from tuner import version
from tuner.version import changed_versions, versions

HERE = {"sha": "0123456789", "dirty": False}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "revision", lambda: HERE)


def manifest(**other: str) -> dict[str, Any]:
    return {"versions": versions() | other, "git": HERE}


def test_nothing_differs_from_what_is_here() -> None:
    assert changed_versions(manifest()) == {}


def test_every_version_that_differs_is_told_with_both() -> None:
    kept = manifest(python="3.10.1", torch="1.0", gone="2.0")
    kept["git"] = {"sha": "fedcba9876", "dirty": True}
    now = versions()
    assert changed_versions(kept) == {
        "python": ("3.10.1", now["python"]),
        "torch": ("1.0", now["torch"]),
        "gone": ("2.0", "not installed"),
        "GradTune": ("git fedcba9 changed", "git 0123456"),
    }


def test_a_change_is_told_once() -> None:
    kept = manifest(torch="1.0")
    changes = changed_versions(kept)
    kept["version_changes"] = [{"at": "", "versions": changes}]
    assert changed_versions(kept) == {}
    kept["version_changes"].append({"at": "", "versions": {"torch": ("x", "2.0")}})
    assert changed_versions(kept) == {"torch": ("2.0", versions()["torch"])}


def test_another_model_of_gpu_is_told_once() -> None:
    kept = manifest() | {"hardware": {"gpus": 2.0, "gpu_kinds": ["H100", "A100"]}}
    assert changed_versions(kept, "A100, H100") == {}
    assert changed_versions(kept) == {}  # on the CPU, or where nobody knows
    changes = changed_versions(kept, "H200")
    assert changes == {"GPU": ("A100, H100", "H200")}
    kept["version_changes"] = [{"at": "", "versions": changes}]
    assert changed_versions(kept, "H200") == {}
    assert changed_versions(manifest(), "H200") == {}  # of before


def test_a_revision_that_nobody_knows_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "revision", dict)
    assert changed_versions(manifest()) == {}


def test_what_decodes_images_is_told_when_it_differs() -> None:
    """By it the images that cannot be decoded, and have others in their places, may be others."""
    now = versions()["pillow"]
    assert changed_versions(manifest(pillow="9.0")) == {"pillow": ("9.0", now)}


@pytest.mark.slow
@pytest.mark.parametrize("kept", [{}, {"versions": None, "git": None}, {"versions": {}}])
def test_what_an_older_run_did_not_keep_is_no_difference(kept: dict[str, Any]) -> None:
    assert changed_versions(kept) == {}
