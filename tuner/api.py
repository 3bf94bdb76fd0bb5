"""How is a search started from Python? `tuner.search(...)`, the command line's engine."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from results import Run, load
from results.records.redaction import redact_word
from search_spaces.registry import allow_import, import_callable
from tuner.config.schema import ConfigError, flatten, show
from tuner.display.phrases import describe_path
from tuner.plan.checks import check_surroundings
from tuner.plan.usercode import MAIN, check_handed, check_import, name_of
from tuner.run import make_request
from tuner.session import cluster
from tuner.session.execution import execute, folder_for, run_id

LAST_OWN_CODE = 128  # beyond: 128 + the number of the signal that ended it
TRAINABLE = ("trainable", "train")  # the key, and its earlier name
NULL_IS_UNSAID = ("space", *TRAINABLE)


def search(
    space: str | list[str] | None = None,
    trainable: Callable[..., object] | str | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    **keys: Any,
) -> Run:
    """Search, confirm on fresh seeds and record; as `python -m tuner.run`.

    Example (a notebook, with a function `train` of its own; see docs/any_training.md):

        run = tuner.search(space=["poly", "cosine"], trainable=train, lr=0.1, epochs=9,
                           trials=8, dataset={"train_examples": 50_000}, batch={"initial": 32})
        print(run.compare().verdict)

    Args:
        space: the arm or arms; None = poly, or those of the run to be resumed.
        trainable: train(schedule, seed, report), or its "package.module:function"; None = our
            networks. A function of a script or notebook travels to the workers, with the
            globals it refers to.
        settings: values by key of docs/keys.md, for keys with a dot in their name.
        keys: any others: `lr=0.1`, `batch={"initial": 32}`, `resume="runs/..."`, `display="none"`.

    Returns:
        The finished run, also where single trials failed.

    Where a process of Ray's own dies (the cluster's head, or this machine's node), the records are
    closed and this process ends with the command that goes on: Ray's code holds its main thread,
    and would itself end it a minute later.

    Raises:
        ConfigError: a mistake in the arguments; one line.
        RuntimeError: the run failed; what was finished is kept.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; `resume=` goes on.
    """
    from tuner.display.summary import API, print_summary, resume_command  # scipy

    cluster.check_ray()
    given = {"space": space, "trainable": trainable, **(settings or {}), **keys}
    said = {k: v for k, v in given.items() if v is not None or k not in NULL_IS_UNSAID}
    given = dict(flatten(said))
    function = None  # the one that cannot be imported by its path
    own = None  # the one that was given, whether or not it can be
    for key in TRAINABLE:
        if key in given and not isinstance(given[key], str):
            own = given[key]
            given[key], function = _named(own)
    request = make_request(given, None, function)
    config = request.config
    if config.dry_run:
        raise ConfigError("dry_run: only the command line has it")
    plan = request.make_plan()
    if own is not None:
        check_handed(config, own, plan.handed)
    elif plan.handed:
        check_import(config, plan.handed)
    check_surroundings(config, request.run_dir)
    if request.run_dir is None:
        config.name = config.name or run_id(plan)
    words = [f"{key}={show(value)}" for key, value in given.items()]
    ended: list[Path] = []

    def summary(run_dir: Path) -> None:
        ended.append(run_dir)
        if config.display != "none":
            print_summary(run_dir)

    with contextlib.redirect_stdout(None if config.display == "none" else sys.stdout):
        code = execute(
            plan,
            program=API,
            command=f"tuner.search: {shlex.join(map(redact_word, words))}",
            resume=request.run_dir,
            summary=summary,
        )
    run_dir = request.run_dir or folder_for(config, str(config.name))
    if code > LAST_OWN_CODE:
        (manifest,) = load(run_dir).manifests.values()
        go_on, kept = resume_command(run_dir, manifest, API), describe_path(run_dir)
        raise KeyboardInterrupt(f"everything finished is kept in {kept}; go on with {go_on}")
    run = load(run_dir)
    if not ended:
        problem = next(iter(run.manifests.values())).get("problem") or f"exit code {code}"
        raise RuntimeError(f"{problem}; everything finished is kept in {describe_path(run_dir)}")
    return run


def _named(train: Any) -> tuple[str, Callable[..., object] | None]:
    """The import path of a training; and the function, where it cannot be imported by it."""
    if not callable(train):
        raise ConfigError(f"trainable={train!r}: give a function train(schedule, seed, report)")
    name = name_of(train)
    if not name.startswith(f"{MAIN}:"):
        allow_import(name)  # it is here already
        with contextlib.suppress(ValueError):
            if import_callable(name) is train:
                return name, None
    return name, train
