"""What time is it? The wall's clock as this process began, moved on by one that never jumps.

So no difference of two recorded times of one process is negative or absurd, whatever sets the
clock meanwhile.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

# Goes on while a laptop sleeps, where the system has such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BEGUN, _TICKS = datetime.now(UTC), time.clock_gettime(_CLOCK)


def now() -> datetime:
    """The time, with its time zone (UTC)."""
    return _BEGUN + timedelta(seconds=ticks() - _TICKS)


def ticks() -> float:
    """Seconds by the clock that never jumps and never stands still: for what others wait for."""
    return time.clock_gettime(_CLOCK)
