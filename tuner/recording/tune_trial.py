"""Which training does a trial of Tune's stand for, and why did it fail?"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from search_spaces.trial import TrialConfig

ANSI = re.compile(r"\x1b\[[0-9;]*m")
NUM_REMEMBERED = 1024  # trials that may be under way at once


def trial_of(tune_trial: Any) -> TrialConfig:
    """The training that our searcher put into its config, decoded once for all callbacks."""
    return _decode(tune_trial.config["trial"])


def error_of(tune_trial: Any) -> str:
    """What Tune kept of the exception: the traceback's text."""
    if tune_trial.error_file and Path(tune_trial.error_file).exists():
        return ANSI.sub("", Path(tune_trial.error_file).read_text(errors="replace"))
    return "the worker died"


@functools.lru_cache(maxsize=NUM_REMEMBERED)
def _decode(text: str) -> TrialConfig:
    return TrialConfig.from_dict(json.loads(text))
