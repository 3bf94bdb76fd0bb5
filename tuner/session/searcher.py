"""How does Ray Tune get its next trial? A Searcher that asks the campaign."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ray.tune.search import Searcher

from search_spaces import FAMILIES
from search_spaces.trial import TrialConfig, canonical_json
from tuner.campaign.campaign import Campaign


class CampaignSearcher(Searcher):  # type: ignore[misc]
    """Hands the campaign's trials to Tune and Tune's outcomes to the campaign.

    Args:
        constants: keys that every trial's config holds besides `trial` and `schedule`.
        stopping: True once the run is to end; no trial is started from then on.
        waiting: True while no trial is to be started.
        forget: removes states that no training begins from any more, by their keys.
        room: how many trials may be handed out at once, now.
    """

    def __init__(
        self,
        campaign: Campaign,
        constants: dict[str, Any],
        stopping: Callable[[], bool],
        forget: Callable[[Iterable[str]], None] = lambda keys: None,
        waiting: Callable[[], bool] = lambda: False,
        room: Callable[[], int] = lambda: 1,
    ) -> None:
        super().__init__()
        self.campaign, self.constants, self.stopping = campaign, constants, stopping
        self.forget, self.waiting, self.room = forget, waiting, room
        self.live: dict[str, TrialConfig] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher, and nobody reads that pickle."""
        return {}

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Accepted and ignored: the campaign knows."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next trial's config, None to wait for a running one, or FINISHED."""
        if self.stopping():
            return Searcher.FINISHED
        if self.waiting() or len(self.live) >= self.room():
            return None
        trial = self.campaign.next()
        if trial is None:
            return Searcher.FINISHED if self.campaign.finished else None
        self.live[trial_id] = trial
        # A curve from a user's file may not exist on the workers: its table travels along.
        table = None if trial.family in FAMILIES else trial.schedule
        return {
            "trial": canonical_json(trial.to_dict()),
            "schedule": table,
            "share": self.campaign.sharing.orders(trial),
            **self.constants,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the campaign what became of a trial; Tune hands the last result flattened."""
        last: dict[str, Any] = {"status": "failed"} if error or result is None else result
        if last is result:
            self.on_trial_result(trial_id, last)
        values = (last.get(name) for name in ("objective", "test_score", "wall_seconds"))
        self.campaign.tell(self.live.pop(trial_id), last["status"], *values)
        self.forget(self.campaign.unneeded_states())

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Others may wait for this epoch, and hours pass; its score influences nothing."""
        trial, num_epochs = self.live[trial_id], result.get("num_epochs", 0)
        self.campaign.sharing.reached(trial.trial_key, num_epochs, result.get("kept", ()))
        self.campaign.hear(trial, result.get("samples_seen", 0), result.get("wall_seconds", 0.0))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing of ours is pickled into Tune's state."""
