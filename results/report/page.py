"""How do a run's findings become one page? Sections in reading order, verdict first."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from results.arms.choice import group_by_arm
from results.plots import PLOTS, scale_line
from results.records.schema import trial_from_row
from results.report.captions import Exhibit, make_exhibit
from results.report.provenance import failures_table, provenance
from results.run import Run
from results.statistics.compare import Comparison
from search_spaces.records import LOST

# Heading, what it answers, figures in order. Figures of measurements follow in their own.
SECTIONS = (
    ("Curves", "How the chosen schedules trained.", ("curves", "curves_by_cost")),
    (
        "Schedules",
        "What the chosen configs did to lr, batch and noise.",
        ("schedules", "decay_rates"),
    ),
    (
        "Search",
        "Where the search looked, what it found, and which parameter mattered.",
        ("parameter_map", "progress", "best_of_n", "importances", "slices"),
    ),
)
PLACED = {"differences", "time_use", *(name for _, _, names in SECTIONS for name in names)}
MEASURED = tuple(name for name in PLOTS if name not in PLACED)
MAX_CLAIMS = 50  # told one by one; the table of pairs has more
IS_FUNCTION = (
    "Known functions were minimised here: accuracy is the share of starts that ended within the "
    "tolerance of the minimum, loss is f - f*."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading with a sentence and its figures."""

    heading: str
    lead: str
    exhibits: tuple[Exhibit, ...]

    @property
    def anchor(self) -> str:
        """Target of links to it."""
        return self.heading.lower().replace(" ", "-")


def render_report(run: Run) -> str:
    """The page of this run.

    Raises:
        ValueError: the runs trained different workloads.
    """
    comparison = run.compare()
    rows = run.rows()
    return _template().render(
        title=", ".join(run.manifests) or "no run",
        trained=scale_line(run),
        notes=[*run.notes, *_own_notes(run)],
        verdict=_sentence(comparison.verdict),
        claims=_claims(comparison),
        warnings=comparison.warnings,
        tables=list(comparison.tables().values()),
        differences=make_exhibit(run, "differences"),
        sections=_sections(run),
        time_use=make_exhibit(run, "time_use"),
        failures=failures_table(rows),
        provenance=provenance(run),
        num_trials=len(rows),
        num_arms=len(group_by_arm(rows)),
        run_path=str(run.dirs[0]) if run.dirs else "",
    )


@functools.cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    source = resources.files("results") / "report"
    style = (source / "style.css").read_text(encoding="utf-8")
    environment.globals["style"] = Markup(style)  # our own file
    return environment.from_string((source / "page.html").read_text(encoding="utf-8"))


def _sections(run: Run) -> list[Section]:
    """Those with something to show."""
    told = (*SECTIONS, ("Measurements", "What was measured along the way.", MEASURED))
    made = [
        Section(
            heading=heading,
            lead=lead,
            exhibits=tuple(e for name in names if (e := make_exhibit(run, name)) is not None),
        )
        for heading, lead, names in told
    ]
    return [section for section in made if section.exhibits]


def _claims(comparison: Comparison) -> list[str]:
    """Every comparison in words, where the verdict does not say them all."""
    claims = comparison.claims if len(comparison.claims) <= MAX_CLAIMS else ()
    sentences = [_sentence(claim.sentence) for claim in claims]
    return [s for s in sentences if s != _sentence(comparison.verdict)]


def _own_notes(run: Run) -> list[str]:
    notes = []
    for row in run.trials.to_pylist():
        if trial_from_row(row).recipe.trainer == "function":
            notes.append(IS_FUNCTION)
            break
    statuses = run.trials.column("status").to_pylist()
    failed = sum(status in LOST for status in statuses)
    if failed:
        notes.append(f"{failed} of {len(statuses)} trials failed: see Provenance.")
    if run.trials.num_rows == 0:
        notes.append("nothing is recorded yet: the report has no figures.")
    return notes


def _sentence(text: str) -> str:
    """Begins with a capital letter unless a name begins it, ends with a full stop."""
    text = text.strip().rstrip(".")
    begins = ("undecided", "nothing to", "no difference", "your default")
    return (text[0].upper() + text[1:] if text.startswith(begins) else text) + "."
