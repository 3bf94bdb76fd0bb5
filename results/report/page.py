"""How do a run's findings become one page? Sections in reading order, verdict first."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup
from matplotlib.figure import Figure

from results.arms.choice import group_by_arm
from results.plots import PLOTS, scale_line
from results.plots.figure import SECTIONS, Plot, arms_of
from results.plots.style import with_plain_texts
from results.records.schema import trial_from_row
from results.report.provenance import differences_table, failures_table, provenance
from results.report.svg import inline_svg
from results.run import Run
from results.tables import Table
from search_spaces.records import LOST

EVIDENCE = next(iter(SECTIONS))  # its figures stand among the tables of the comparison
MAX_CLAIMS = 50  # told one by one; the table of pairs has more
# How sentences begin that no name begins.
BEGINNINGS = (
    *("undecided", "nothing to", "no difference", "your default"),
    *("seeds are", "arms and seeds", "the arms", "only ", "checked on"),
)
IS_FUNCTION = (
    "Known functions were minimised here: accuracy is the share of starts that ended within the "
    "tolerance of the minimum, loss is f - f*."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exhibit:
    """A figure of the report with its caption and the numbers behind it."""

    name: str
    title: str
    caption: str
    svg: Markup
    table: Table | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading with a sentence and its figures."""

    heading: str
    lead: str
    exhibits: list[Exhibit]

    @property
    def anchor(self) -> str:
        """Target of links to it."""
        return self.heading.lower().replace(" ", "-")


def render_report(run: Run) -> str:
    """The page of this run; ValueError where the runs trained different workloads."""
    comparison = run.compare()
    tables = [table for table in comparison.tables().values() if table.rows]
    rows, differences = run.rows(), differences_table(run)
    verdict = sentence_of(comparison.verdict)  # claims: where it does not say them all
    sentences = [sentence_of(claim.sentence) for claim in comparison.claims]
    return render_page(
        title=", ".join(run.manifests) or "no run",
        trained=scale_line(run),
        notes=[*run.notes, *_run_notes(run)],
        verdict=verdict,
        claims=[s for s in sentences if s != verdict] if len(sentences) <= MAX_CLAIMS else [],
        warnings=comparison.warnings,
        paragraph=run.paragraph(comparison).text() if rows else "",
        tables=tables,
        evidence=EVIDENCE,
        sections=_sections(run, has_tables=bool(tables)),
        failures=failures_table(rows),
        differences=differences if differences and differences.rows else None,
        provenance=provenance(run),
        num_trials=len(rows),
        num_arms=len(group_by_arm(rows)),
        run_path=str(run.dirs[0]) if run.dirs else "",
    )


def render_page(**content: Any) -> str:
    """The page with these parts; what each is: page.html."""
    return _template().render(**content)


@functools.cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    source = resources.files("results") / "report"
    style = (source / "style.css").read_text(encoding="utf-8")
    environment.globals["style"] = Markup(style)  # our own file
    return environment.from_string((source / "page.html").read_text(encoding="utf-8"))


def make_exhibit(run: Run, name: str) -> Exhibit | None:
    """The figure of this name in PLOTS; None where the run has nothing to show in it."""
    plot = PLOTS[name]
    return exhibit_of(name, plot, plot.info(run))


def exhibit_of(name: str, plot: Plot, info: Any) -> Exhibit | None:
    """The figure of these numbers; None where there are none."""
    if not arms_of(info):
        return None
    figure = Figure()
    plot.draw(info, figure)
    with_plain_texts(figure)
    title = figure.get_suptitle().replace("\n", ". ")
    figure.suptitle("")  # the caption says it
    if not title and len(figure.axes) == 1:
        title = figure.axes[0].get_title()
        figure.axes[0].set_title("")
    caption = f"{title or plot.title}; n={len(arms_of(info))} arms."
    if plot.caption is not None:
        caption = plot.caption(info)
    svg = inline_svg(figure, name, f"{plot.title}. {caption}")
    return Exhibit(name=name, title=plot.title, caption=caption, svg=svg, table=plot.numbers(info))


def _sections(run: Run, *, has_tables: bool) -> list[Section]:
    """Those with something to show; evidence are tables too."""
    sections = []
    for heading, lead in SECTIONS.items():
        names = [name for name, plot in PLOTS.items() if plot.section == heading]
        exhibits = [exhibit for name in names if (exhibit := make_exhibit(run, name))]
        if exhibits or (has_tables and heading == EVIDENCE):
            sections.append(Section(heading=heading, lead=lead, exhibits=exhibits))
    return sections


def _run_notes(run: Run) -> list[str]:
    rows = run.trials.to_pylist()
    failed = sum(row["status"] in LOST for row in rows)
    notes = {
        IS_FUNCTION: any(trial_from_row(row).recipe.trainer == "function" for row in rows),
        f"{failed} of {len(rows)} trials failed: see Provenance.": failed > 0,
        "nothing is recorded yet: the report has no figures.": not rows,
    }
    return [note for note, holds in notes.items() if holds]


def sentence_of(text: str) -> str:
    """The text with a full stop, and with a capital letter unless a name begins it."""
    text = text.strip().rstrip(".")
    return (text[0].upper() + text[1:] if text.startswith(BEGINNINGS) else text) + "."
