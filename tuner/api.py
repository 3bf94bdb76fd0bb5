"""How is a search started from Python? `tuner.search(...)`, the command line's engine."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.registry import import_callable
from tuner.config.schema import ConfigError
from tuner.session import cluster

if TYPE_CHECKING:  # pyarrow
    from results import Run

PLAIN_TEXT = re.compile(r"[\w./:+@~-]+")  # what a word may hold without quotes
INTERRUPTED = (130, 143)
AGAIN = "tuner.search(resume={!r}, train=...)"


def search(
    space: str | list[str] | None = None,
    train: Callable[..., object] | str | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    **keys: Any,
) -> Run:
    """Search, confirm on fresh seeds and record; as `python -m tuner.run`.

    Example (a notebook, with a function `train` of its own; see docs/any_training.md):

        run = tuner.search(space=["poly", "cosine"], train=train, lr=0.1, epochs=9, trials=8,
                           settings={"dataset.train_examples": 50_000, "batch.initial": 32})
        print(run.compare().verdict)

    Args:
        space: the arm or arms; None = poly, or those of the run to be resumed.
        train: train(schedule, seed, report), or its "package.module:function"; None = our
            networks. A function of a script or notebook travels to the workers, with the
            globals it refers to.
        settings: keys of docs/keys.md that have a dot in their name.
        keys: all others: `lr=0.1`, `workload="digits"`, `resume="runs/..."`, `display="none"`.

    Returns:
        The finished run, also where single trials failed.

    Raises:
        ConfigError: a mistake in the arguments; one line.
        RuntimeError: the run failed; what was finished is kept.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; `resume=` goes on.
    """
    from results import load
    from tuner.display.summary import print_summary
    from tuner.plan.checks import check_surroundings
    from tuner.plan.plan import make_plan
    from tuner.session.resume import compose_run
    from tuner.session.session import execute, run_id

    _check_ray()
    name, function = _named(train)
    named = {"space": space, "trainable": name}
    given = {key: value for key, value in named.items() if value is not None}
    words = [_word(key, value) for key, value in (given | dict(settings or {}) | keys).items()]
    request = compose_run(words, None, function)
    config = request.config
    if config.dry_run:
        raise ConfigError("dry_run: only the command line has it")
    plan = make_plan(config) if request.plan is None else request.plan
    check_surroundings(config, request.run_dir)
    if request.run_dir is None:
        config.name = config.name or run_id(plan)
    ended: list[Path] = []

    def summary(run_dir: Path) -> None:
        ended.append(run_dir)
        if config.display != "none":
            print_summary(run_dir)

    with contextlib.redirect_stdout(None if config.display == "none" else sys.stdout):
        code = execute(
            plan,
            command=f"tuner.search: {' '.join(words)}",
            resume=request.run_dir,
            summary=summary,
            again=AGAIN,
        )
    run_dir = request.run_dir or Path(config.runs_dir).resolve() / str(config.name)
    if code in INTERRUPTED:
        raise KeyboardInterrupt(f"everything finished is kept in {run_dir}")
    run = load(run_dir)
    if not ended:
        problem = next(iter(run.manifests.values())).get("problem") or f"exit code {code}"
        raise RuntimeError(f"{problem}; everything finished is kept in {run_dir}")
    return run


def _check_ray() -> None:
    """Ray reads its variables once, when it is imported; a cluster of its own would refuse it."""
    if "ray" not in sys.modules:
        return
    import ray

    if any(name not in os.environ for name in cluster.ENVIRONMENT):
        raise ConfigError(
            "ray was imported before tuner.search could set its variables: restart Python and "
            "call tuner.search first"
        )
    if ray.is_initialized():
        raise ConfigError("Ray is already running in this process: call ray.shutdown() first")


def _named(
    train: Callable[..., object] | str | None,
) -> tuple[str | None, Callable[..., object] | None]:
    """The import path of a training; and the function, where it cannot be imported by it."""
    from tuner.plan.usercode import MAIN, name_of

    if train is None or isinstance(train, str):
        return train, None
    if not callable(train):
        raise ConfigError(f"train={train!r}: give a function train(schedule, seed, report)")
    name = name_of(train)
    if not name.startswith(f"{MAIN}:"):
        with contextlib.suppress(ValueError):
            if import_callable(name) is train:
                return name, None
    return name, train


def _word(key: str, value: Any) -> str:
    """key=value as it would be typed."""
    text = _text(value, is_raw=key in ("resume", "trainable"))
    return f"{key}={text}"


def _text(value: Any, *, is_raw: bool = False) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(_text(item) for item in value)}]"
    if isinstance(value, int | float) or hasattr(value, "item"):  # numpy's numbers
        return repr(value.item() if hasattr(value, "item") else value)
    text = str(value)
    if is_raw or PLAIN_TEXT.fullmatch(text):
        return text
    quoted = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), text)
    return f"'{quoted}'"
