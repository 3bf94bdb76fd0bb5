"""What does a part of benchmarks.gpu tell? Lines: a number, or a claim that held or did not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

Verdict = Literal["PASS", "FAIL", "not run", ""]
MARK = "RESULT "  # of a line on stdout that holds one


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One row of the table.

    Attributes:
        part: that told it. what: in words; the same in every run. value: measured, in words.
        number: the same as a number, where it is one. verdict: '' of what is only measured.
    """

    part: str
    what: str
    value: str
    number: float | None = None
    verdict: Verdict = ""

    def text(self) -> str:
        """As a part prints it."""
        return MARK + json.dumps(asdict(self))


Tell = Callable[..., Line]
Part = Callable[[int], Iterator[Line]]


def read_line(text: str) -> Line | None:
    """The line in what a part has printed; None of what else it prints."""
    return Line(**json.loads(text[len(MARK) :])) if text.startswith(MARK) else None


def checked(part: str, check: Callable[[], str], what: str = "") -> Line:
    """The line of a check, which says what it saw or raises.

    An error of CUDA may leave the process unfit for what comes after; other parts are not in it.
    """
    name = what or getattr(check, "__name__", part).replace("_", " ")
    try:
        return Line(part=part, what=name, value=check(), verdict="PASS")
    except (AssertionError, RuntimeError, ValueError, OSError) as error:
        text = " ".join(str(error).split())[:160]
        return Line(part=part, what=name, value=f"{type(error).__name__}: {text}", verdict="FAIL")
