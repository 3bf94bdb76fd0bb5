"""How is a file written so that a reader sees the whole of it or none?"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(
    file: Path, write: Callable[[BinaryIO], object], *, durably: bool = True
) -> None:
    """What `write` writes, under its name only once it is complete.

    durably: False leaves it to the system when it survives a loss of power.

    Raises:
        OSError: no space, no permission; nothing is left behind.
    """
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as stream:
            write(stream)
            stream.flush()
            if durably:
                os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
