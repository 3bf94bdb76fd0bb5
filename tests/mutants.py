"""How many mutants of each module do the tests kill? Reads `mutmut results --all true`.

Mutants that change nothing anybody could see are listed in equivalent_mutants.txt with the
reason, and not counted.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

EQUIVALENT = Path(__file__).parent / "equivalent_mutants.txt"
LINE = re.compile(r"\s*([\w.]+?)\.x[_\u01c1]\S*: (.+)")
NOT_KILLED = ("survived", "no tests", "suspicious")


def read_equivalent(text: str) -> set[str]:
    """Names of the list: the first word of every line that is no comment."""
    return {line.split()[0] for line in text.splitlines() if line.strip() and line[0] != "#"}


def count(lines: Iterable[str], equivalent: set[str]) -> dict[str, Counter[str]]:
    """killed and survived by module; everything that did not survive was noticed."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        match = LINE.match(line)
        if match and line.strip().partition(":")[0] not in equivalent:
            status = match[2].strip()
            if status != "not checked":
                counts[match[1]]["survived" if status in NOT_KILLED else "killed"] += 1
    return counts


def main() -> None:
    """Print a row a module, and the sum."""
    counts = count(sys.stdin, read_equivalent(EQUIVALENT.read_text()))
    counts["all"] = sum(counts.values(), Counter())
    print(f"{'module':44s} {'killed':>7s} {'survived':>9s} {'%':>6s}")
    for module, number in counts.items():
        share = 100 * number["killed"] / max(1, number.total())
        print(f"{module:44s} {number['killed']:7d} {number['survived']:9d} {share:6.1f}")


if __name__ == "__main__":
    main()
