"""One command for all of it: `gradtune run space=poly`, `gradtune results compare RUN`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable

USAGE = """usage: gradtune COMMAND [words ...]

  run       search schedules, confirm the best, keep everything   (python -m tuner.run)
  measure   noise, critical batch, sharpness ... of a training    (python -m tuner.measure)
  results   compare, judge, report, export, verify finished runs  (python -m results)
  reproduce train one trial again, compare it bit for bit         (python -m tuner.reproduce)
  submit    a run on a Ray cluster, from this folder              (python -m tuner.submit)
  status    arms, best so far, time left, of runs and jobs        (python -m tuner.status)
  logs      what trainings, or a job on a cluster, printed        (python -m tuner.logs)
  stop      a job on a cluster, in order                          (python -m tuner.stop)

  gradtune COMMAND --help            what a command takes
  gradtune --version                 version and git revision
  gradtune --print-completion SHELL  completion of commands, keys and names (bash or zsh):
                                     eval "$(gradtune --print-completion bash)"
"""
# bash breaks words at "=" and wants only what follows it; zsh does not.
COMPLETION = """\
_gradtune() {{
  local line=${{COMP_LINE:0:$COMP_POINT}}
  local cur=${{line##*[[:space:]]}}
  local words="{commands}"
  case $line in
    *" results "*) words="{results}" ;;
    *" measure "*) words="{measures} {keys}" ;;
    *" submit "*) words="{submits} {keys}" ;;
    *" run "*) words="{keys}" ;;
    *" status "*|*" logs "*|*" stop "*) words="address= job= follow=" ;;
  esac
  COMPREPLY=( $(compgen -W "$words" -- "$cur") )
  [[ $cur == *=* && $COMP_WORDBREAKS == *=* ]] && COMPREPLY=( "${{COMPREPLY[@]#*=}}" )
  return 0
}}
complete -o default -o nospace -F _gradtune gradtune
"""
SHELLS = {"bash": "", "zsh": "autoload -U +X bashcompinit && bashcompinit\n"}


# Command -> the module whose `main` it is.
COMMANDS = {
    "run": "tuner.run",
    "measure": "tuner.measure.__main__",
    "results": "results.__main__",
    "reproduce": "tuner.reproduce",
    "submit": "tuner.submit",
    "status": "tuner.status",
    "logs": "tuner.logs",
    "stop": "tuner.stop",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code, 2 for a mistake in the words before it."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("--help", "-h"):
        print(USAGE, end="")
        return 0 if words else 2
    if words[0] == "--version":
        from tuner.version import describe_version

        print(describe_version())
        return 0
    if words[0] == "--print-completion" and words[1:2] and words[1] in SHELLS:
        print(completion(words[1]), end="")
        return 0
    if words[0] in COMMANDS:
        # As `python -m` does: names of the reader's own are found where the reader is.
        try:
            sys.path.insert(0, os.getcwd())
        except FileNotFoundError:
            print("error: the working directory has been removed", file=sys.stderr)
            return 2
        module = importlib.import_module(COMMANDS[words[0]])
        code: int = module.main(words[1:], program=f"gradtune {words[0]}")
        return code
    from search_spaces.registry import nearest

    known = ", ".join((*COMMANDS, "--version", "--print-completion bash|zsh"))
    typed = " ".join(words[:2] if words[0].startswith("-") else words[:1])
    hint = nearest(typed, COMMANDS)
    print(f"error: unknown command {typed!r}{hint} (known: {known})", file=sys.stderr)
    return 2


def completion(shell: str) -> str:
    """A script for this shell that completes commands, keys and the names of the registries."""
    from results.__main__ import COMMANDS as RESULTS
    from results.measurements import MEASUREMENTS
    from search_spaces import SPACES
    from tuner.config.presets import PRESETS
    from tuner.config.schema import KEYS
    from tuner.config.workloads import WORKLOADS
    from tuner.measure.__main__ import OTHERS
    from tuner.submit import OWN

    named: dict[str, Iterable[str]] = {"space": SPACES, "workload": WORKLOADS, "preset": PRESETS}
    words = [f"{key}={name}" for key, names in named.items() for name in names]
    keys = [f"{key}=" for key in KEYS if key not in named]
    script = COMPLETION.format(
        commands=" ".join((*COMMANDS, "--help", "--version")),
        results=" ".join(RESULTS),
        measures=" ".join((*MEASUREMENTS, *OTHERS)),
        submits=" ".join(f"{key}=" for key in OWN),
        keys=" ".join((*words, *keys, "--help", "--cfg", "--config-dir")),
    )
    return SHELLS[shell] + script


if __name__ == "__main__":
    sys.exit(main())
