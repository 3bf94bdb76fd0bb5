"""Send a run to a Ray cluster: `gradtune submit address=http://head:8265 space=poly ...`.

The words are those of `python -m tuner.run`, and are checked here before anything is sent.
"""

from __future__ import annotations

import secrets
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from results.records.redaction import redact_word
from results.storage.place import Place, is_remote
from search_spaces.registry import is_import_path, nearest
from tuner.config.compose import SPACE_FILES
from tuner.config.schema import (
    KEYS,
    SHORTHANDS,
    Config,
    ConfigError,
    check_value,
    convert,
    refusing,
    show,
)
from tuner.config.words import parse_words
from tuner.display.phrases import describe_path
from tuner.jobs.head import Head, find_address
from tuner.jobs.shipment import ENVIRONMENTS, Shipment, pack
from tuner.plan.checks import tell_notes
from tuner.plan.codefiles import OURS, code_files
from tuner.plan.plan import make_plan
from tuner.plan.usercode import check_import, foreign_names
from tuner.run import Command, exit_code, make_request, read_command
from tuner.session.execution import made_up_name, run_id
from tuner.session.resume import REPEATABLE, check_keys
from tuner.version import git_state

PROGRAM = "python -m tuner.submit"
USAGE = """usage: {program} address=http://head:8265 runs_dir=/shared/runs [key=value ...]

Run these words of `python -m tuner.run` on a Ray cluster, in a copy of this folder.

  {program} address=http://head:8265 runs_dir=/shared/runs space=poly
  {program} address=http://head:8265 resume=/shared/runs/NAME follow=true
  {program} address=http://head:8265 stop=JOB          the same as gradtune stop

  address=URL             the head's dashboard (default: $RAY_API_SERVER_ADDRESS)
  runs_dir=, resume=      an absolute path that all nodes share, or s3://bucket/folder
  follow=true             print what the job prints; Ctrl-C leaves it running
  env=cluster|pip|uv      what is installed there, or the versions of constraints.txt
  'exclude=[pattern,..]'  leave more of the folder here than .git, .env*, data/, runs/, ...
  cluster.auth=disabled   talk to a cluster that asks nobody for a token, here and there
  dry_run=true            print the equal `ray job submit` line, send nothing
"""
# Keys of the submission itself -> its allowed values, where they are few.
OWN: dict[str, tuple[str, ...]] = {
    "address": (),
    "follow": ("true", "false"),
    "env": ENVIRONMENTS,
    "exclude": (),
    "stop": (),
}
OPEN = "cluster.auth=disabled"  # also for the job, which joins its cluster
DETACHED = 130  # exit code after Ctrl-C while following


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The words of a submission: its own (read, and as typed), and those of the run."""

    own: Mapping[str, Any]
    typed: list[str]
    run: list[str]

    @property
    def follows(self) -> bool:
        """True where the job's output is wanted."""
        return self.own.get("follow") == "true"

    @property
    def accepts_open(self) -> bool:
        """True where a cluster may be one that asks nobody for a token."""
        return OPEN in self.run


def main(argv: list[str] | None = None, program: str = PROGRAM) -> int:
    """Submit; returns the exit code: 0 submitted, 2 bad input, with follow=true the job's own."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or "--help" in words or "-h" in words:
        print(USAGE.format(program=program), end="")
        return 0 if words else 2
    return exit_code(lambda: _main(read_words(words)))


def read_words(words: list[str]) -> Asked:
    """Which words are for the submission, and which for the run."""
    mine = [word for word in words if word.partition("=")[0] in OWN]
    own = parse_words([f"exclude=[{w[8:]}]" if _is_single_pattern(w) else w for w in mine])
    for key, value in own.items():
        if OWN[key] and value not in OWN[key]:
            hint = nearest(str(value), OWN[key])
            raise ConfigError(f"{key}={show(value)}: allowed is {' | '.join(OWN[key])}{hint}")
    run = [word for word in words if word not in mine]
    for key in (word.partition("=")[0] for word in run):
        meant = get_close_matches(key, OWN, n=1, cutoff=0.75)
        if meant and key not in KEYS and key not in SHORTHANDS:
            raise ConfigError(f"unknown key {key!r}; did you mean {meant[0]!r}?")
    return Asked(own=own, typed=mine, run=run)


def _is_single_pattern(word: str) -> bool:
    return word.startswith("exclude=") and not word.startswith("exclude=[")


def _main(asked: Asked) -> int:
    if "stop" in asked.own:
        from tuner.stop import stop_job

        head = Head(find_address(asked.own.get("address")), is_open_accepted=asked.accepts_open)
        return stop_job(head, str(asked.own["stop"]))
    command = read_command(asked.run)
    address = find_address(asked.own.get("address"))
    is_dry = convert("dry_run", KEYS["dry_run"], command.given.get("dry_run", False))
    shipment = make_shipment(asked, command)
    print(f"{shipment.as_ray_command(address)}\n", flush=True)
    if is_dry:
        print("nothing was sent (dry_run=true)")
        return 0
    head = Head(address, is_open_accepted=asked.accepts_open)
    print(f"sending {describe_folder(shipment.folder)} ...", flush=True)
    job = head.submit(shipment)
    print(f"job {job} runs there: {shipment.metadata['run']}")
    for line in next_commands(address, shipment):
        print(f"  {line}")
    return follow(head, job, shipment.metadata["again"]) if asked.follows else 0


def make_shipment(asked: Asked, command: Command, folder: Path | None = None) -> Shipment:
    """The job that these words ask for, checked.

    Args:
        folder: what is sent; None = the working directory.

    Raises:
        ConfigError: as `python -m tuner.run` would say, or what a job cannot do.
    """
    folder = (Path.cwd() if folder is None else folder).resolve()
    if Path.home().resolve().is_relative_to(folder):
        raise ConfigError(f"{folder} would be sent as a whole: submit from your project's folder")
    given = {SHORTHANDS.get(key, key): value for key, value in command.given.items()}
    if "cluster.auth" in given:  # has an effect there, where there is a cluster
        check_value("cluster.auth", given.pop("cluster.auth"))
    command = replace(command, given=given)
    if "cluster.address" in given:
        raise ConfigError("cluster.address: a job uses the cluster it runs on; leave it away")
    if command.show:
        raise ConfigError("--cfg: shows a configuration here: python -m tuner.run --cfg")
    words = [word for word in asked.run if word.partition("=")[0] != "dry_run"]
    if "resume" in given:
        run = absolute("resume", given["resume"])
        check_resume(run, {k: v for k, v in given.items() if k != "dry_run"}, command.config_dir)
        name = Path(run).name
    else:
        runs_dir = absolute("runs_dir", given.get("runs_dir"))
        name = check_new(command, folder)
        run = f"{runs_dir.rstrip('/')}/{name}"
        words += [] if "name" in given else [f"name={name}"]
    check_no_secrets(words)
    # A name that was typed may be typed again, where the job of before could not start.
    is_new = "resume" not in given and "name" not in given
    return pack(
        folder,
        words,
        job=name if is_new else f"{name}-{secrets.token_hex(2)}",
        run=run,
        again=words_again(run, asked),
        environment=str(asked.own.get("env", "cluster")),
        exclude=list(asked.own.get("exclude") or ()),
    )


def absolute(key: str, value: Any) -> str:
    """The folder, which has to be the same one on all nodes.

    Raises:
        ConfigError: not given, or a path from here.
    """
    if value is None or not (str(value).startswith("/") or "://" in str(value)):
        typed = f"{key}={show(value)}" if value is not None else key
        raise ConfigError(
            f"{typed}: give the absolute path of a folder that all nodes share, "
            f"for example {key}=/shared/runs{'/NAME' if key == 'resume' else ''}, or in a bucket"
        )
    if is_remote(value):
        with refusing(f"{key}="):
            return str(Place.parse(value))
    return str(value)


def check_new(command: Command, folder: Path) -> str:
    """Check a new run as `python -m tuner.run` does; returns its name.

    Data that are not on this machine are checked on the cluster.
    """
    config = make_request(command.given, command.config_dir).config
    path = config.dataset.path
    if config.trainer == "network" and path is not None and not Path(path).is_absolute():
        raise ConfigError(f"dataset.path={path}: give the absolute path that all nodes have")
    plan = None
    try:
        plan = make_plan(config)
    except ConfigError as error:
        if path is None or Path(path).exists() or "does not exist" not in str(error):
            raise
        print(f"note: dataset.path={path} is not here; the nodes are looked at", file=sys.stderr)
        name = made_up_name(config.preset, config.space)
    else:
        tell_notes(plan.source)
        name = run_id(plan)
    check_sent(config, command, folder)
    check_import(config, plan.handed if plan else ())
    return config.name or name


def check_resume(run: str, given: Mapping[str, Any], config_dir: str | None) -> None:
    """Check the words of a resume as `python -m tuner.run` does, where the run is at hand."""
    if Path(run).exists():
        make_request(given, config_dir)
        return
    check_keys({key: value for key, value in given.items() if key != "resume"})
    print(f"note: resume={run} is not here; it is checked on the cluster", file=sys.stderr)


def check_no_secrets(words: Iterable[str]) -> None:
    """Raise ConfigError for a word with a password in it."""
    for word in words:
        if redact_word(word) != word:
            raise ConfigError(
                f"{redact_word(word)}: the head keeps the words of a job and shows them to all "
                "who may list its jobs; give a password by the environment of its nodes"
            )


def check_sent(config: Config, command: Command, folder: Path) -> None:
    """Raise ConfigError for files of the user's that lie outside of what is sent."""
    typed = command.given.get("space") or ()
    typed_spaces = [typed] if isinstance(typed, str) else list(typed)
    names = [*foreign_names(config).values(), *(s.family for s in config.user_spaces.values())]
    with refusing():
        files = {str(path) for path in code_files(names).values()}
    files |= {space for space in typed_spaces if space.endswith(SPACE_FILES)}
    files |= {command.config_dir} if command.config_dir else set()
    for file in sorted(files):
        path = Path(file).resolve()
        is_installed = any(part in path.parts for part in ("site-packages", "dist-packages"))
        if is_installed or any(map(path.is_relative_to, OURS)):
            continue
        if not path.is_relative_to(folder.resolve()):
            raise ConfigError(
                f"{describe_path(path)}: lies outside of {folder}, which is sent; submit from a "
                "folder that holds it"
            )


def describe_folder(folder: Path) -> str:
    """The folder, and the commit that it is at."""
    git = git_state(folder)
    changed = ", changed" if git.get("dirty") else ""
    at = f" at git {git['sha'][:7]}{changed}" if git else ""
    return f"{folder}{at}"


def next_commands(address: str, shipment: Shipment) -> list[str]:
    """How one comes back to the job."""
    at, job = f"address={address}", f"job={shipment.job}"
    commands = [
        (["gradtune", "logs", at, job, "follow=true"], "what it prints; Ctrl-C leaves it running"),
        (["gradtune", "status", at, job], "arms, best so far, time left"),
        (["gradtune", "stop", at, job], "in order: everything is kept"),
    ]
    lines = [f"{shlex.join(words)}   # {meaning}" for words, meaning in commands]
    again = shlex.join(["gradtune", "submit", at])
    return [*lines, f"{again} {shipment.metadata['again']}   # goes on after that"]


def words_again(run: str, asked: Asked) -> list[str]:
    """What is typed to go on with this run; code is named again, which allows its import."""
    own = [word for word in asked.typed if word.partition("=")[0] in ("env", "exclude")]
    folder = asked.run.index("--config-dir") if "--config-dir" in asked.run else len(asked.run)
    named = []
    for word in asked.run:
        key, _, value = word.partition("=")
        is_file = key == "space" and any(end in value for end in SPACE_FILES)
        key = SHORTHANDS.get(key, key)
        is_code = key in REPEATABLE and is_import_path(value)
        if word == OPEN or is_file or is_code or "--config-dir=" in word:
            named.append(word)
    return [*own, f"resume={run}", *named, *asked.run[folder : folder + 2]]


def follow(head: Head, job: str, again: str) -> int:
    """Print what the job prints until it ends or the reader leaves; returns the exit code.

    again: words of a submission that goes on with its run.
    """
    at = f"address={head.address}"
    back = shlex.join(["gradtune", "logs", at, f"job={job}", "follow=true"])
    try:
        return head.follow(job)
    except KeyboardInterrupt:
        print(f"\nleft; the job goes on. Come back with: {back}", file=sys.stderr)
        return DETACHED
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        on = f"; if the head is gone, on another: gradtune submit address=... {again}"
        print(f"come back with: {back}{on if again else ''}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
