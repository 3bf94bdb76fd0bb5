"""How many mutants of each module do the tests kill? Reads `mutmut results --all true`.

Mutants that change nothing anybody could see are counted as survivors too: their numbers change
with every edit of a function, so no list of them could stay true.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable

LINE = re.compile(r"\s*([\w.]+?)\.x[_\u01c1]\S*: (.+)")
NOT_KILLED = ("survived", "no tests", "suspicious")


def count(lines: Iterable[str]) -> dict[str, Counter[str]]:
    """killed and survived by module; everything that did not survive was noticed."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        match = LINE.match(line)
        if match:
            status = match[2].strip()
            if status != "not checked":
                counts[match[1]]["survived" if status in NOT_KILLED else "killed"] += 1
    return counts


def main() -> None:
    """Print a row a module, and the sum."""
    counts = count(sys.stdin)
    counts["all"] = sum(counts.values(), Counter())
    print(f"{'module':44s} {'killed':>7s} {'survived':>9s} {'%':>6s}")
    for module, number in counts.items():
        share = 100 * number["killed"] / max(1, number.total())
        print(f"{module:44s} {number['killed']:7d} {number['survived']:9d} {share:6.1f}")


if __name__ == "__main__":
    main()
