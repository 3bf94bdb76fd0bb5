"""What does one paste into a pull request or a paper? What was compared, the cost, the result.

Only what the records hold is stated: of a training of the user's own neither optimizer nor data.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.arms.choice import group_by_arm, spaces_of
from results.records.schema import Row, trial_from_row
from results.statistics.compare import Comparison
from results.statistics.cost import Devices, devices_of, seconds_of
from results.statistics.overview import ArmSummary
from results.statistics.paired import CONFIDENCE_SEQUENCE
from results.statistics.wording import (
    arm_label,
    counted,
    diverged_text,
    duration,
    format_params,
    metric_words,
    number,
    screen_text,
    status_counts,
    value_text,
)
from results.tables import latex_text
from search_spaces.records import LOST, OPEN
from search_spaces.space import TUNED_BASELINE, Range, SearchSpace, is_baseline, param_text

Manifests = Mapping[str, Mapping[str, Any]]
MAX_NAMED = 12  # arms told by name; the rest is counted
PACKAGES = ("python", "torch", "ray", "optuna")  # whose versions are told
FIDELITIES = {
    "full": "each trained in full",
    "squeezed": "short complete trainings first (squeezed schedules)",
    "prefix": "the first epochs of a full training first (successive halving)",
}
NOTABLE = ("diverged", *LOST, *OPEN)  # what became of a training, where it is worth telling
# Arms are told to the run's owner as "your default"; a paragraph has other readers.
FOR_OTHERS = {"your default": "the default", "your code": "the training's code"}
# What a backslash keeps from being markup in a pull request.
MARKDOWN_SPECIAL = "\\`*<>|#~$"


@dataclass(frozen=True, kw_only=True, slots=True)
class Paragraph:
    """Sentences for other readers, and how to have the numbers again; rendered three ways.

    Attributes:
        sentences: in reading order, each with its full stop.
        commands: what was typed, in order: a run's own and what it went on with.
    """

    sentences: tuple[str, ...]
    commands: tuple[str, ...]

    def text(self) -> str:
        """One line, then one a command."""
        return "\n".join([" ".join(self.sentences), *(f"  {line}" for line in self.commands)])

    __str__ = text

    def markdown(self) -> str:
        """For a pull request: marks of markup in names are escaped, commands are code."""
        words = "".join(
            f"\\{char}" if char in MARKDOWN_SPECIAL else char for char in " ".join(self.sentences)
        )
        words = words.replace("](", "]\\(")  # no link, no picture
        longest = max(map(len, re.findall("`+", "\n".join(self.commands))), default=0)
        fence = "`" * max(3, longest + 1)
        code = [fence, *self.commands, fence] if self.commands else []
        return "\n".join([words, "", *code]).rstrip() + "\n"

    def latex(self) -> str:
        """For a paper: names are escaped, commands stand in typewriter type."""
        quote = r"\textquotesingle{}"
        commands = [
            rf"\texttt{{{latex_text(line).replace(chr(39), quote)}}}" for line in self.commands
        ]
        words = latex_text(" ".join(self.sentences)).replace("+-", r"$\pm$")
        return "\n".join([words, *(f"{line}{end}" for line, end in _ends(commands))]) + "\n"


def write_paragraph(
    rows: list[Row],
    manifests: Manifests,
    comparison: Comparison,
    commands: Sequence[str],
    *,
    notes: Sequence[str] = (),
    left_out: str = "",
) -> Paragraph:
    """The paragraph of a comparison of these trials; empty without trials.

    Args:
        commands: what was typed to train them, in order.
        notes: on the runs, such as that one is unfinished.
        left_out: a sentence on what was excluded by hand, which the verdict holds.
    """
    if not rows:
        return Paragraph(sentences=(), commands=tuple(commands))
    arms = group_by_arm(rows)
    metric = trial_from_row(rows[0]).recipe.metric
    parts = [
        _compared(arms, manifests),
        _training(rows, manifests, comparison.unit),
        _tuning(arms, manifests, comparison, metric_words(metric)),
        _scores(comparison, arms),
        result_sentence(comparison, left_out),
        intervals_sentence(comparison),
        _counts(rows),
        *(f"Note: {warning}" for warning in (*comparison.warnings, *notes)),
        _versions(manifests),
        "Reproduced by:" if commands else "",
    ]
    return Paragraph(
        sentences=tuple(for_others(part) for part in parts if part), commands=tuple(commands)
    )


def _compared(arms: Mapping[str, list[Row]], manifests: Manifests) -> str:
    """Every arm, and which of its parameters were searched in which ranges."""
    spaces = {run_id: spaces_of(manifest) for run_id, manifest in manifests.items()}
    own = {name: rows for name, rows in arms.items() if is_baseline(rows[0]["space"])}
    searched = {name: rows for name, rows in arms.items() if name not in own and _configs(rows)}
    fixed = [name for name in arms if name not in own and name not in searched]
    told_arms = [
        _searched(arm_label(name), spaces.get(rows[0]["run_id"], {}).get(rows[0]["space"]))
        for name, rows in searched.items()
    ]
    if fixed:
        told_arms.append(
            f"{_listed(fixed)} (one config{' each' if fixed[1:] else ''}, not searched)"
        )
    told_arms += [_default(name, rows, spaces) for name, rows in own.items()]
    what = "Schedules compared" if len(arms) > 1 else "Schedule"
    return f"{what}: {'; '.join(told_arms)}."


def _searched(label: str, space: SearchSpace | None) -> str:
    ranges = [] if space is None else [_range(k, axis) for k, axis in space.free.items()]
    return f"{label}, searched" + (f" over {', '.join(ranges)}" if ranges else "")


def _range(name: str, axis: Range) -> str:
    """ "p from 0.25 to 4", "split in {0, 1}"."""
    if axis.choices is not None:
        return f"{name} in {{{', '.join(param_text(name, value) for value in axis.choices)}}}"
    ends = [param_text(name, end) for end in (axis.low, axis.high) if end is not None]
    return f"{name} from {' to '.join(ends)}"


def _default(name: str, rows: list[Row], spaces: Mapping[str, Mapping[str, SearchSpace]]) -> str:
    """The baseline: which curve it is, and whether it was tuned."""
    trial = trial_from_row(rows[0])
    own = name.partition(":")[2] or "your default"
    curve = f"{trial.family} from lr {trial.lr0:.4g}"
    if name.partition(":")[0] == TUNED_BASELINE:
        space = spaces.get(rows[0]["run_id"], {}).get(rows[0]["space"])
        return _searched(f"{own} ({trial.family})", space)
    return f"{own} ({curve}, not tuned)"


def _training(rows: list[Row], manifests: Manifests, unit: str) -> str:
    """What was trained, on what and how long, as far as it is known; unit: a sample's word."""
    trials = [trial_from_row(row) for row in rows]
    recipe, own = trials[0].recipe, {name for trial in trials for name in trial.params}
    is_network = recipe.trainer == "network"
    has_width = is_network and recipe.width and "width" not in own
    model = f"{recipe.model}{f' (width {recipe.width})' if has_width else ''}"
    title = [name for name in (model, recipe.dataset) if name != "none"]
    parts = [" on ".join(title)]
    parts.append(f"{counted(recipe.epochs, 'epoch')} of {recipe.train_examples:,} {unit}")
    tests = _each(manifests, lambda manifest: manifest.get("num_test"))
    if is_network and tests:
        parts.append(f"{tests} {unit} to test")
    if "batch0" not in own:
        parts.append(f"first batch {recipe.batch0:,}")
    if is_network:
        optimizer = _distinct(trial.recipe.optimizer for trial in trials)
        kind = "Nesterov momentum" if recipe.nesterov else "momentum"
        momentum = "" if "momentum" in own else f" with {kind} {recipe.momentum:g}"
        parts.append(f"{optimizer}{momentum}")
        parts += [] if "weight_decay" in own else [f"weight decay {recipe.weight_decay:g}"]
        parts.append(recipe.precision)
    devices = sorted({row["device"] for row in rows if row["device"]})
    where = f", trained on {' and '.join(devices)}" if devices else ""
    return f"Training: {', '.join(parts)}{where}."


def _tuning(
    arms: Mapping[str, list[Row]], manifests: Manifests, comparison: Comparison, judged: str
) -> str:
    """How the searched arms were tuned, by what they were judged, and what that took."""
    configs = {name: count for name, rows in arms.items() if (count := _configs(rows))}
    if not configs:
        return "No arm was searched." if len(arms) > 1 else ""
    search = [_config(manifest, "search") for manifest in manifests.values()]
    samplers = _distinct(f"{s['sampler']} sampler" for s in search if s.get("sampler"))
    kinds = _distinct(FIDELITIES[s["fidelity"]] for s in search if s.get("fidelity") in FIDELITIES)
    hours = _distinct(
        f"budget {s['hours']:g} device-hours in all" for s in search if s.get("hours")
    )
    how = ", ".join(filter(None, [samplers, kinds, hours]))
    what = f"Tuning: {by_arm(configs, lambda n: counted(n, 'config'))}"
    what += (f" ({how})" if how else "") + f", chosen by {judged}{_selected(manifests)}"
    costs = {name: comparison.details[name].search for name in configs}
    samples = by_arm({n: c.samples_seen for n, c in costs.items()}, lambda n: f"{n:,}")
    times = by_arm({name: _spent(arms[name], manifests) for name in configs}, str)
    time = f"; time: {times}" if any(cost.train_seconds for cost in costs.values()) else ""
    return f"{what}; {comparison.unit}: {samples}{time}."


def _spent(rows: list[Row], manifests: Manifests) -> str:
    """Device-hours of an arm's search; time alone where it is not known what trainings held."""
    searched = [row for row in rows if row["role"] != "confirm"]
    slots = [_section(manifests.get(row["run_id"], {}), "slots") for row in searched]
    if not all(slots):
        return duration(sum(map(seconds_of, searched)))
    seconds: dict[Devices, float] = {}
    for row, held in zip(searched, map(devices_of, slots), strict=True):
        seconds[held] = seconds.get(held, 0.0) + seconds_of(row)
    return " and ".join(devices.text(total) for devices, total in seconds.items())


def _selected(manifests: Manifests) -> str:
    """Where several configs of an arm were trained again to select among."""
    confirm = [_config(manifest, "confirm") for manifest in manifests.values()]
    most = max((c.get("top_k") or 1 for c in confirm), default=1)
    return f" (the best {most} on seeds of their own)" if most > 1 else ""


def _scores(comparison: Comparison, arms: Mapping[str, list[Row]]) -> str:
    """Mean and spread of every arm on its confirm seeds, with the config that stands for it."""
    metric = comparison.metric
    scored = sorted(
        (arm for arm in comparison.arms if arm.n), key=lambda arm: -metric.score(arm.mean)
    )
    if not scored:
        return ""
    seeds = by_arm({arm.name: arm.n for arm in scored}, lambda n: counted(n, "seed"))
    seen = {
        row["samples_seen"]
        for arm in scored
        for row in arms[arm.name]
        if row["role"] == "confirm" and row["status"] == "completed" and row["samples_seen"]
    }
    each = f", {_between(seen)} {comparison.unit} a training" if seen else ""
    spread = " +- standard deviation" if any(arm.n > 1 for arm in scored) else ""
    values = "; ".join(_score(arm, comparison) for arm in scored[:MAX_NAMED])
    rest = f"; {len(scored) - MAX_NAMED} more" if len(scored) > MAX_NAMED else ""
    words = metric_words(metric).capitalize()
    return f"{words}, mean{spread} on fresh seeds ({seeds}{each}): {values}{rest}."


def _score(arm: ArmSummary, comparison: Comparison) -> str:
    """ "poly 98.43 +- 0.20 % (p=0.9, interval=2)"; the name alone where it tells the config."""
    metric, details = comparison.metric, comparison.details.get(arm.name)
    value = screen_text(arm.mean, metric)
    if arm.n > 1:
        unit = " %" if metric.is_accuracy else ""
        mean = value_text(arm.mean, metric, arm.sd)
        value = f"{mean} +- {value_text(arm.sd, metric, arm.sd)}{unit}"
    tells = is_baseline(arm.name) or " " in arm.name or details is None or not details.params
    params = {} if tells or details is None else dict(details.params)
    params = {k: v for k, v in params.items() if not (k == "split" and v == 1)}
    chosen = f" ({format_params(params)})" if params else ""
    return f"{arm_label(arm.name)} {value}{chosen}"


def result_sentence(comparison: Comparison, left_out: str) -> str:
    """The verdict; of a lone arm that there is none."""
    if len(comparison.arms) > 1:
        return _capital(comparison.verdict)
    diverged = diverged_text(comparison.diverged, comparison.metric)
    return f"It was compared with no other schedule. {diverged} {left_out}".rstrip()


def intervals_sentence(comparison: Comparison) -> str:
    """Of which kind the intervals are."""
    compared = [difference for difference in comparison.pairs.values() if difference.n]
    kinds = sorted({d.interval_kind for d in compared if d.low is not None})
    if not kinds:
        return ""
    paired = all(d.counts is None for d in compared)
    of = "differences paired by seed" if paired else "differences of means"
    test = "paired t-tests" if paired else "Welch t-tests"
    claims = f"; claims rest on {test}{', adjusted by Holm' if len(compared) > 1 else ''}"
    if kinds == [CONFIDENCE_SEQUENCE]:
        claims = ", which hold for all pairs at once and at any number of seeds"
    return f"Intervals: {' and '.join(kinds)}s of {of}{claims}."


def _counts(rows: list[Row]) -> str:
    """What became of the trainings, where not all went well."""
    trials = Counter(row["status"] for row in rows)
    if not any(trials[status] for status in NOTABLE):
        return ""
    return f"Of {counted(len(rows), 'training')} {status_counts(trials)}."


def _versions(manifests: Manifests) -> str:
    """GradTune, what it stands on, and the user's own code, each with its revision."""

    def ours(manifest: Mapping[str, Any]) -> str:
        version = str(_section(manifest, "versions").get("gradtune") or "")
        return " ".join(filter(None, [version, _revision(_section(manifest, "git"))]))

    parts = [f"GradTune {versions}"] if (versions := _each(manifests, ours)) else []
    for name in PACKAGES:
        version = _each(manifests, lambda m, name=name: _section(m, "versions").get(name))  # type: ignore[misc]
        parts += [f"{name} {version}"] if version else []
    code = _each(manifests, lambda m: _revision(_section(_section(m, "code"), "git")))
    parts += [f"the training's code {code}"] if code else []
    return f"Versions: {', '.join(parts)}." if parts else ""


def _revision(git: Mapping[str, Any]) -> str:
    changes = " with changes" if git.get("dirty") else ""
    return f"(git {str(git['sha'])[:10]}{changes})" if git.get("sha") else ""


def _configs(rows: Iterable[Row]) -> int:
    """How many configs the search of an arm has tried."""
    return len({row["config_key"] for row in rows if row["role"] == "search"})


def _distinct(texts: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(texts))


def _each(manifests: Manifests, tell: Callable[[Mapping[str, Any]], Any]) -> str:
    """What the runs say, each answer once."""
    answers = [tell(manifest) for manifest in manifests.values()]
    said = [number(a) if isinstance(a, int) else str(a) for a in answers if a not in (None, "")]
    return " and ".join(dict.fromkeys(said))


def by_arm(values: Mapping[str, Any], text: Callable[[Any], str]) -> str:
    """ "8 configs an arm", or of each arm where they differ; of one arm the value alone."""
    texts = {name: text(value) for name, value in values.items()}
    if len(set(texts.values())) == 1:
        return f"{next(iter(texts.values()))}{' an arm' if len(texts) > 1 else ''}"
    return ", ".join(f"{arm_label(name)} {value}" for name, value in texts.items())


def _listed(names: Sequence[str]) -> str:
    """Names of arms; of very many the first."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(map(arm_label, names[:MAX_NAMED])) + more


def _between(values: Iterable[int]) -> str:
    """ "720", or "720 to 736"."""
    return " to ".join(dict.fromkeys(f"{v:,}" for v in (min(values), max(values))))


def _config(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section of the configuration that a run was started with."""
    return _section(_section(manifest, "config"), name)


def _section(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a manifest; empty where it is damaged."""
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}


def _capital(sentence: str) -> str:
    begins = ("undecided", "nothing to", "no difference", "your default")
    return sentence[:1].upper() + sentence[1:] if sentence.startswith(begins) else sentence


def for_others(sentence: str) -> str:
    """The sentence as others read it, who do not own the run."""
    for ours, theirs in FOR_OTHERS.items():
        sentence = sentence.replace(ours, theirs).replace(ours.capitalize(), theirs.capitalize())
    return sentence


def _ends(lines: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Each with what breaks the line behind it, the last with nothing."""
    return ((line, r"\\" if place < len(lines) else "") for place, line in enumerate(lines, 1))
