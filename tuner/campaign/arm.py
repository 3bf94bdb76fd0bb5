"""How far is one arm? Its search, its candidates, and the config that is confirmed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from results.statistics.worth import worths
from search_spaces.metric import VAL_ACCURACY, Metric
from search_spaces.space import SearchSpace
from search_spaces.trial import TrialConfig
from tuner.campaign.halving import Halving
from tuner.campaign.suggest import Suggester


@dataclass
class Arm:
    """One space (or the baseline) on its way through search, select and confirm.

    Attributes:
        configs: handed out to search, by config_key, in the order asked.
        halving: who trains how long, and with which score.
        samples: spent plus committed on search, the fairness measure between arms.
        selected: ended select trials by config key; select_scores: their scores.
        tables: which config has which schedule; repeated: configs not trained, for that.
        chosen: the config confirmed, once known. confirmed: the metric on test data by config key
            and replicate, None where the training was lost (or diverged, of no accuracy).
    """

    space: SearchSpace
    suggester: Suggester | None
    halving: Halving
    metric: Metric = VAL_ACCURACY
    samples: int = 0
    num_replaced: int = 0
    exhausted: bool = False
    configs: dict[str, TrialConfig] = field(default_factory=dict)
    selected: Counter[str] = field(default_factory=Counter)
    select_scores: dict[str, list[float]] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    repeated: set[str] = field(default_factory=set)
    chosen: TrialConfig | None = None
    confirmed: dict[str, dict[int, float | None]] = field(default_factory=dict)
    _table_keys: dict[str, str] = field(default_factory=dict)

    @property
    def num_asked(self) -> int:
        """Search configs handed out so far."""
        return len(self.configs)

    @property
    def num_searched(self) -> int:
        """The same without those lost to the machinery, for which others are asked."""
        return self.num_asked - self.num_replaced

    def has_tried(self, trial: TrialConfig) -> bool:
        """True where this config, or one with the very same schedule, has been handed out."""
        if trial.config_key in self.configs:
            return True
        if self.table_of(trial) not in self.tables:
            return False
        self.repeated.add(trial.config_key)
        return True

    def table_of(self, trial: TrialConfig) -> str:
        """`table_key` of a config in full; made once, for a grid is looked through again."""
        if trial.config_key not in self._table_keys:
            self._table_keys[trial.config_key] = trial.table_key
        return self._table_keys[trial.config_key]

    @property
    def can_ask(self) -> bool:
        """True while another config of this arm may be searched."""
        return not self.exhausted and self.num_asked < self.halving.num_configs + self.num_replaced

    @property
    def promotion(self) -> tuple[str, int] | None:
        """The config that has earned a longer training, and its rung."""
        return self.halving.promotion(closed=not self.can_ask)

    @property
    def searching(self) -> bool:
        """True while the search has something to do or to wait for."""
        return self.can_ask or bool(self.halving.num_open) or self.promotion is not None

    @property
    def scores(self) -> dict[int, float | None]:
        """Of the chosen config by replicate; see `confirmed`."""
        return self.confirmed.get(self.chosen.config_key, {}) if self.chosen else {}

    def ranked(self, fidelity: str) -> list[TrialConfig]:
        """Configs, best first; ties go to the earlier one.

        By the objective of the full trainings, or of the longest where all have diverged before.
        Squeezed ones are looks at the same schedule: there by all trainings of a config
        together, with those that have no full one.
        """
        longest = [rung.scores for rung in self.halving.rungs if rung.scores]
        values: Mapping[str, float] = longest[-1] if longest else {}
        if fidelity == "squeezed":
            rungs = [rung.scores for rung in self.halving.rungs]
            values = worths(rungs, is_accuracy=self.metric.is_accuracy)
        asked = [key for key in self.configs if key in values]
        return [self.configs[key] for key in sorted(asked, key=lambda key: -values[key])]

    def best_selected(self, candidates: list[TrialConfig]) -> TrialConfig:
        """Highest mean on the select seeds; the search's best where none was selected."""
        means = {key: float(np.mean(scores)) for key, scores in self.select_scores.items()}
        return max(candidates, key=lambda trial: means.get(trial.config_key, -math.inf))
