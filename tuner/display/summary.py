"""What did the run find? The last screen: best schedule, how sure, what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rich.console import Console

from results import Run, load
from results.arms.choice import confirm_rows, is_full
from results.statistics.claims import Claim
from results.statistics.cost import devices_of, hours_text, seconds_of
from results.statistics.wording import arm_label, counted, metric_words, screen_text
from search_spaces.records import score_on_test
from search_spaces.registry import is_import_path
from search_spaces.space import is_baseline
from search_spaces.trial import Role, TrialConfig
from tuner.config.compose import DESTINATIONS
from tuner.config.schema import NAMED
from tuner.config.words import write_word
from tuner.display.phrases import describe_params, describe_path, stage_lines
from tuner.plan.usercode import MAIN

PROGRAM, API = "python -m tuner.run", "tuner.search"
IN_PYTHON = (*NAMED, "trainable")  # keys that name code of the user's


def print_summary(run_dir: Path) -> None:
    """Print what `results.load` has to say about the finished run."""
    # Plain text also in a notebook, where each print would be an output of its own.
    console = Console(highlight=False, soft_wrap=True, markup=False, force_jupyter=False)
    run = load(run_dir)
    rows = run.rows()
    try:
        best = run.best()
    except ValueError as error:
        console.print(f"no schedule found: {error}")
        return
    is_confirmed = any(row["role"] == "confirm" for row in rows)
    comparison = run.compare() if is_confirmed else None
    heading = describe_standing(best.space, comparison.claims if comparison else ())
    count, of = comparison.diverged.get(best.space, (0, 0)) if comparison else (0, 0)
    if count and count == of:
        lost = f"all {of} confirm trainings" if of > 1 else "the confirm training"
        heading = f"no best schedule, {lost} diverged of the best tried"
    console.print()
    if comparison is not None:  # above the verdict, which stays on the last screen
        console.print(f"for a pull request or a paper:\n{run.paragraph(comparison)}\n")
    console.print(f"{heading}: {best.space} {describe_params(best.params)}")
    for line in stage_lines(best.schedule):
        console.print(f"  {line}")
    if best.recipe.trainer != "function":  # where delta is the radius of its smoothing
        console.print(f"  {best.recipe.law.formula}")
    console.print(_reached_line(rows, best))
    console.print(_search_line(run, rows))
    (manifest,) = run.manifests.values()
    console.print(describe_cost(run.trials.to_pylist(), manifest))
    if repeated := manifest.get("repeated"):
        searched = {r["config_key"] for r in rows if r["role"] == "search"}
        console.print(describe_repeated(repeated, repeated + len(searched)))
    if shared := manifest.get("shared_samples"):
        where = "trained once, used by several trainings"
        console.print(f"{shared:,} {run.unit} were shared: {where}")
    if comparison is not None:
        console.print(comparison.verdict, style="bold")
        for warning in comparison.warnings:
            console.print(f"note: {warning}")
    console.print()
    has_search = any(row["role"] == "search" for row in rows)
    for command in next_commands(run_dir, manifest, best.family, has_search=has_search):
        console.print(f"  {command}")


def describe_cost(rows: Iterable[Mapping[str, Any]], manifest: Mapping[str, Any]) -> str:
    """ "spent 0.12 CPU hours: search 0.08 (search.hours=0.08 ended it), confirm 0.04"."""
    devices, config = devices_of(manifest.get("slots") or {}), manifest["config"]
    seconds = dict.fromkeys(get_args(Role), 0.0)
    for row in rows:
        seconds[row["role"]] += seconds_of(row)
    parts = []
    for role in filter(seconds.get, seconds):
        part = f"{role} {hours_text(devices.hours(seconds[role]))}"
        if role in (manifest.get("hours_spent") or ()):
            part += f" ({role}.hours={config[role]['hours']:g} ended it)"
        parts.append(part)
    return f"spent {devices.text(sum(seconds.values()))}: {', '.join(parts)}"


def describe_repeated(repeated: int, suggestions: int) -> str:
    """ "3 of 8 suggestions gave a schedule already tried: not trained again"."""
    return (
        f"{repeated} of {suggestions} suggestions gave a schedule already tried: not trained again"
    )


def describe_standing(arm: str, claims: Iterable[Claim]) -> str:
    """What may be said of the searched arm with the highest mean: "best schedule" is a claim."""
    rivals = [claim for claim in claims if claim.difference.n and arm in (claim.a, claim.b)]
    lost = [claim.winner for claim in rivals if claim.winner not in (arm, None)]
    if lost:
        return f"best schedule tried, behind {arm_label(lost[0])}"
    equals = [claim.b if claim.a == arm else claim.a for claim in rivals if claim.winner is None]
    if equals:
        return f"best schedule tried, not proven better than {', '.join(map(arm_label, equals))}"
    return "best schedule"


def next_commands(
    run_dir: Path, manifest: Mapping[str, Any], family: str, *, has_search: bool = True
) -> list[str]:
    """What a person would type next; a family of the user's own is named, to allow its code."""
    where, config = shlex.quote(describe_path(run_dir)), manifest["config"]
    code = f" --family {shlex.quote(family)}" if is_import_path(family) else ""
    commands = [
        f"python -m results compare {where}                  # table, verdict and plots",
        f"python -m results export {where} --schedule best{code}   # CSV, JSON, code to join it",
    ]
    is_open = config["search"]["sampler"] != "grid" and config["search"]["budget"] is None
    if is_open and has_search:
        more = {"trials": "+10"}
        if "search" in (manifest.get("hours_spent") or ()):
            more = {"search.hours": f"{2 * config['search']['hours']:g}"}
        line = resume_command(run_dir, manifest, **more)
        commands.append(f"{line}      # search on")
    return commands


def resume_command(
    run_dir: Path, manifest: Mapping[str, Any], program: str = PROGRAM, **keys: str
) -> str:
    """What goes on with a run, with these keys changed; `program`: what was typed before words.

    The user's own code is named again, which allows its import, and where the run connects to.
    """
    config, where = manifest["config"], describe_path(run_dir)
    names = {key: config.get(key, {}).get("name") for key in NAMED}
    names |= {
        "trainable": config.get("trainable"),
        "recipe.family": config.get("recipe", {}).get("family"),
    }
    sections = {key: key.split(".") for key in DESTINATIONS}
    places = {key: config.get(name, {}).get(last) for key, (name, last) in sections.items()}
    places = {key: place for key, place in places.items() if place not in (None, "token")}
    words = {"resume": where} | {k: v for k, v in names.items() if v and is_import_path(v)}
    words |= places
    searched = [space for space in manifest["spaces"] if not is_baseline(space.get("name", ""))]
    has_families = any(is_import_path(space["family"]) for space in searched)
    if program == API or str(words.get("trainable")).startswith(f"{MAIN}:"):
        told = [f"resume={where!r}", *(["space=..."] if has_families else [])]
        told += [f"{key}={_in_python(words[key])}" for key in words if key in IN_PYTHON]
        dotted = {key: value for key, value in words.items() if "." in key}
        told += [f"settings={dotted}"] if dotted else []
        told += [f"{key}={value!r}" for key, value in keys.items()]
        return f"{API}({', '.join(told)})"
    line = [*program.split(), *(write_word(key, value) for key, value in words.items())]
    line += _space_words(manifest) if has_families else []
    return shlex.join([*line, *(write_word(key, value) for key, value in keys.items())])


def _in_python(value: str) -> str:
    """A function of the script or notebook by its name there; what has none is left open."""
    module, _, name = value.partition(":")
    if module != MAIN:
        return repr(value)
    return name if name.isidentifier() else "..."


def _space_words(manifest: Mapping[str, Any]) -> list[str]:
    """How the spaces were named, with the folder that they are in."""
    try:
        typed = shlex.split(manifest["command"])
    except ValueError:  # an apostrophe: versions before this one recorded it without quotes
        typed = manifest["command"].split()
    folder = typed.index("--config-dir") if "--config-dir" in typed else len(typed)
    named = [word for word in typed if word.startswith("space=")][-1:]
    named = named or [write_word("space", manifest["config"]["space"])]
    return [*named, *typed[folder : folder + 2]]


def _reached_line(rows: list[dict[str, Any]], best: TrialConfig) -> str:
    """The objective of the config in the search, and on the test data of its confirm seeds."""
    rows, metric = [r for r in rows if r["config_key"] == best.config_key], best.recipe.metric
    searched = [r["objective"] for r in rows if r["role"] == "search" and is_full(r)]
    confirmed = confirm_rows(rows)
    scores = [score_on_test(row, metric) for row in confirmed]
    tests = [value for value in scores if value is not None]
    parts = []
    if searched:
        parts.append(f"{metric_words(metric)} {screen_text(searched[0], metric)} in the search")
    if tests:
        diverged = sum(row["status"] == "diverged" for row in confirmed)
        seeds = f"mean of {counted(len(tests), 'fresh seed')}"
        seeds += f", {diverged} diverged" if diverged else ""
        mean = screen_text(float(np.mean(tests)), metric)
        parts.append(f"{metric_words(metric.of_test)} {mean} ({seeds})")
    return ", ".join(parts)


def _search_line(run: Run, rows: list[dict[str, Any]]) -> str:
    """How many configs were searched, and how many of them a model suggested."""
    parts = []
    for name in run.spaces:
        searched = [r for r in rows if r["space"] == name and r["role"] == "search"]
        if searched:
            num_full = sum(is_full(row) for row in searched)
            configs = len({row["config_key"] for row in searched})
            in_full = "" if configs == num_full else f" of which {num_full} in full"
            diverged = sum(row["status"] == "diverged" for row in searched)
            in_full += f", {diverged} diverged" if diverged else ""
            parts.append(f"{arm_label(name)} {configs}{in_full}")
    if not parts:
        return "searched configs: none; every arm has one config"
    modelled = next(iter(run.manifests.values())).get("model_based", 0)
    return f"searched configs: {', '.join(parts)} ({modelled} suggested by the sampler's model)"
