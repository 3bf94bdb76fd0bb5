"""Which config earns a longer training? Successive halving of one arm, without waiting.

A rung is a length of training: a share of the full training's samples (squeezed: the whole
schedule in fewer samples; prefix: the first epochs of the full one). All configs start on the
lowest rung; one in eta is promoted to the next: the best once a rung is full, and before that
whoever is among the best 1/eta of those that have ended there (Li et al. 2020, arXiv 1810.05934,
ASHA), but never more configs than the rung above is planned to hold: every arm spends the same
samples. Unless search.promote=early the campaign asks for promotions only when no config is left
to start, which ends with better configs than promoting at once (benchmarks/README.md); no worker
has to wait for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tuner.plan.ladder import Ladder


@dataclass
class Rung:
    """Trainings of one length. open: begun and not ended; scores: ended, by config.

    stuck: ended configs that cannot be promoted (a training that has diverged).
    """

    open: set[str] = field(default_factory=set)
    scores: dict[str, float] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.open) + len(self.scores)

    def __contains__(self, config: str) -> bool:
        return config in self.open or config in self.scores


class Halving:
    """The rungs of an arm that is to start `num_configs` (may grow). Scores: higher is better."""

    def __init__(self, ladder: Ladder, num_configs: int) -> None:
        self.ladder, self.num_configs = ladder, num_configs
        self.rungs = [Rung() for _ in ladder.horizons]
        self._asked: dict[str, int] = {}  # order of the configs: ties go to the earlier one

    @property
    def num_open(self) -> int:
        """Trainings begun and not ended."""
        return sum(len(rung.open) for rung in self.rungs)

    def start(self, config: str, rung: int = 0) -> None:
        """A training begins."""
        self._asked.setdefault(config, len(self._asked))
        self.rungs[rung].open.add(config)

    def end(self, config: str, rung: int, score: float, *, stuck: bool = False) -> None:
        """A training ended; `stuck`: it cannot go on and is never promoted."""
        self.rungs[rung].open.discard(config)
        self.rungs[rung].scores[config] = score
        if stuck:
            self.rungs[rung].stuck.add(config)

    def lose(self, config: str, rung: int) -> None:
        """A training was lost to the machinery: another config may take its place."""
        self.rungs[rung].open.discard(config)
        if rung:
            self.rungs[rung - 1].stuck.add(config)

    def is_over_full(self, rung: int) -> bool:
        """True when more trainings are on this rung than planned."""
        return len(self.rungs[rung]) > self.ladder.sizes(len(self.rungs[0]))[rung]

    def promotion(self, *, closed: bool) -> tuple[str, int] | None:
        """The config to promote next and its new rung; None = nobody has earned it yet.

        `closed`: no further config will start.
        """
        num_configs = len(self.rungs[0]) if closed else self.num_configs
        sizes = self.ladder.sizes(num_configs)
        for rung in range(self.ladder.top, 0, -1):
            if len(self.rungs[rung]) < sizes[rung]:
                is_full = self._is_full(rung - 1, sizes, closed)
                for config in self._candidates(rung - 1, sizes[rung] if is_full else None):
                    return config, rung
        return None

    def _is_full(self, rung: int, sizes: list[int], closed: bool) -> bool:
        """True when no further training will end on this rung."""
        below_is_full = closed if rung == 0 else self._is_full(rung - 1, sizes, closed)
        if not below_is_full or self.rungs[rung].open:
            return False
        waiting = rung > 0 and next(self._candidates(rung - 1, sizes[rung]), None) is not None
        return not (waiting and len(self.rungs[rung]) < sizes[rung])

    def _candidates(self, rung: int, room: int | None) -> Iterator[str]:
        """Configs of this rung that may rise, best first.

        `room` of the rung above, once this rung is full; None = the best 1/eta so far.
        """
        here, above = self.rungs[rung], self.rungs[rung + 1]
        ranked = sorted(here.scores, key=lambda c: (-here.scores[c], self._asked[c]))
        if room is None:
            ranked = ranked[: len(ranked) // self.ladder.eta]
        return (c for c in ranked if c not in above and c not in here.stuck)
