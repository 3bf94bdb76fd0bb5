"""One HTML file that says what a run found, how sure that is, and where it came from."""

from __future__ import annotations

from pathlib import Path

from results.records.segments import write_text
from results.report.page import render_report
from results.run import Run

REPORT_NAME = "report.html"


def write_report(run: Run, path: str | Path) -> Path:
    """Write the report of this run: self-contained, no scripts, nothing from elsewhere.

    Raises:
        ValueError: the runs trained different workloads (see Run.compare).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render_report(run))
    return path
