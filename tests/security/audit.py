"""Which pinned packages have known vulnerabilities? `make audit`; without a network by a snapshot.

advisories.json is what was known on its date; pip-audit, where it is installed and has a network,
knows what came since.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

HERE = Path(__file__).parent
CONSTRAINTS = HERE.parents[1] / "constraints.txt"
SNAPSHOT = HERE / "advisories.json"
WAIT_SECONDS = 300


def pinned(path: Path = CONSTRAINTS) -> dict[str, Version]:
    """The exact version of every package."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    requirements = [Requirement(line) for line in lines if line]
    return {
        canonicalize_name(one.name): Version(spec.version)
        for one in requirements
        for spec in one.specifier
    }


def known(versions: dict[str, Version], path: Path = SNAPSHOT) -> list[str]:
    """A line for every advisory of the snapshot that one of these versions is below."""
    return [
        f"{name} {versions[name]}: {advisory['id']} ({advisory['what']}); fixed in "
        f"{advisory['fixed']}"
        for advisory in json.loads(path.read_text())["advisories"]
        if (name := canonicalize_name(advisory["package"])) in versions
        and versions[name] < Version(advisory["fixed"])
    ]


def ask_pip_audit() -> tuple[list[str], str]:
    """What pip-audit says of the pinned versions; and why it was not asked, or ""."""
    tool = shutil.which("pip-audit", path=str(Path(sys.executable).parent))
    if tool is None:
        return [], "pip-audit is not installed"
    words = [tool, "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip", "-f", "json"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=WAIT_SECONDS)
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return [], "pip-audit had no answer (no network?)"
    return [
        f"{one['name']} {one['version']}: {found['id']}; fixed in "
        f"{', '.join(found['fix_versions']) or 'no version yet'}"
        for one in packages
        for found in one.get("vulns", ())
    ], ""


def main(ask: Callable[[], tuple[Iterable[str], str]] = ask_pip_audit) -> int:
    """Print what is known; 1 where there is something."""
    problems = known(pinned())
    later, skipped = ask()
    problems += later
    collected = json.loads(SNAPSHOT.read_text())["collected"]
    print(f"advisories as of {collected}: {len(pinned())} pinned packages looked at")
    print(f"skipped: what is newer ({skipped})" if skipped else "pip-audit was asked too")
    print(*problems or ["no known vulnerability"], sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
