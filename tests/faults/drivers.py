"""Drivers in processes of their own, without Ray: each runs the commands that it is told.

`python -m tests.faults.drivers` reads a command a line (JSON: a list of words) and answers how it
ended. They are ready before they are told, so that several begin in the same millisecond.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.fakes.processes import ready

# Four trainings of a known function, milliseconds each, without torch.
TINY = ("workload=sphere", "epochs=2", "trials=2", "confirm.seeds=1", "display=plain")


@dataclass(frozen=True)
class Ended:
    """How a command ended; seconds: until then, from being told."""

    code: int
    out: str
    err: str
    seconds: float


class Driver:
    """One of these processes."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.process = ready.popen(
            "tests.faults.drivers",
            str(folder),
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def wait(self) -> None:
        """Until it has imported everything."""
        assert self._read() == "ready"

    def tell(self, *words: str) -> None:
        """Let it run this command."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def ended(self) -> Ended:
        """How the command that it was told ended."""
        return Ended(**self._read())

    def close(self) -> None:
        """End it."""
        self.process.communicate()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


def main(folder: Path) -> None:
    import pytest

    from tests.fakes.tune_loop import Inline
    from tuner.session import execution

    inline = Inline(folder, pytest.MonkeyPatch())
    for name in execution.HEAVY:
        __import__(name)
    print('"ready"', flush=True)
    for line in sys.stdin:
        begun = time.monotonic()
        done = inline.run(*json.loads(line))
        seconds = time.monotonic() - begun
        ended = {"code": done.returncode, "out": done.stdout, "err": done.stderr}
        print(json.dumps(ended | {"seconds": seconds}), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    main(Path(sys.argv[1]))
