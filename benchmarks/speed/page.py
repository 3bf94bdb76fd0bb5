"""Writes the numbers of docs/performance.md: runs every command that a block of it begins with.

A block is fenced, and its first line is `python -m benchmarks. ...`; what stands below that line
becomes what the command prints. The prose around stays. With names only those blocks.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
BLOCK = re.compile(r"^```\n(python -m (benchmarks\.[\w.]+)[^\n]*)\n(.*?)^```$", re.M | re.S)
MAX_SECONDS = 600


def main() -> None:
    """Write the page anew, block by block: one that fails costs only its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of benchmarks, e.g. many startup; all without")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    failed = []
    for match in BLOCK.finditer(options.page.read_text()):
        command, module = match[1], match[2]
        if options.names and module.rpartition(".")[2] not in options.names:
            continue
        print(command, flush=True)
        words, begun = shlex.split(command)[1:], time.monotonic()
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, timeout=MAX_SECONDS
        )
        print(f"  {time.monotonic() - begun:.0f} s", flush=True)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            failed.append(command)
            continue
        block = f"```\n{command}\n\n{done.stdout.strip()}\n```"
        text = options.page.read_text()
        assert match[0] in text, "nobody else writes the page meanwhile"
        options.page.write_text(text.replace(match[0], block))
    if failed:
        sys.exit(f"failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
