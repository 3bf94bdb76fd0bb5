"""`python -m tuner.run` in a process of its own, to be killed: with Ray, or training by itself."""

from __future__ import annotations

import sys

import pytest

from tests.fakes.tune_loop import do_without_ray
from tuner.run import main

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        words = [word for word in sys.argv[1:] if word != "--ray"]
        if len(words) == len(sys.argv) - 1:
            do_without_ray(patch)
        # A state of each epoch, not one in 10 s.
        patch.setattr("tuner.session.session.SAVE_PAUSE_SECONDS", 0.0)
        sys.exit(main(words))
