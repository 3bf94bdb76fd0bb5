"""How does optuna-dashboard show a run? As an Optuna journal file with a study per space."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from results.records.segments import write_text
from results.run import Run
from results.study import quiet_optuna

if TYPE_CHECKING:  # optuna is imported late: --help stays fast
    import optuna

JOURNAL_NAME = "optuna_journal.log"


def export_journal(run: Run, path: str | Path) -> Path:
    """Write the studies of all spaces as one journal file, replacing an earlier one.

    A copy for the eye: the run goes on from its own records, never from this file. Opened by
    `optuna-dashboard FILE`, or by optuna.load_study with JournalStorage(JournalFileBackend(FILE)).

    Raises:
        ValueError: the run has no space.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if not run.spaces:
        raise ValueError("this run names no space: there is no study to export.")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with quiet_optuna(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / JOURNAL_NAME  # a journal only grows; ours is new
        storage = JournalStorage(JournalFileBackend(str(file)))
        for space in run.spaces:
            _copy(run.to_study(space), storage, run)
        write_text(path, file.read_text())
    return path


def _copy(study: optuna.Study, storage: optuna.storages.BaseStorage, run: Run) -> None:
    import optuna

    copy = optuna.create_study(
        study_name=study.study_name, storage=storage, directions=study.directions
    )
    copy.set_user_attr("runs", ", ".join(run.manifests))
    copy.add_trials(study.get_trials(deepcopy=False))
