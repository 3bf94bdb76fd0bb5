"""`ray start`, whose dashboard has only what jobs need: the other parts are ten processes more."""

from __future__ import annotations

from typing import Any

from ray._private import ray_constants, services
from ray.scripts.scripts import main

NEEDED = "--modules-to-load=JobHead,NodeHead"
usual = services.start_ray_process


def start_lean(command: list[str], process_type: str, *args: Any, **options: Any) -> Any:
    """As Ray does."""
    is_dashboard = process_type == ray_constants.PROCESS_TYPE_DASHBOARD
    return usual([*command, NEEDED] if is_dashboard else command, process_type, *args, **options)


if __name__ == "__main__":
    services.start_ray_process = start_lean
    main()
