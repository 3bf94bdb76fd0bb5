"""Records the revision in the wheel; all else is in pyproject.toml."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithRevision(build_py):
    """`build_py` that writes tuner/revision.json next to the copied modules."""

    def run(self) -> None:
        """Copy, then record."""
        super().run()
        if self.editable_mode:  # a checkout is asked when it runs
            return
        revision = runpy.run_path(str(ROOT / "tuner" / "version.py"))["revision"]()
        target = Path(self.build_lib, "tuner", "revision.json")
        target.write_text(json.dumps(revision) + "\n")


setup(cmdclass={"build_py": BuildWithRevision})
