"""How large is SGD's smoothing level delta for a given lr, batch size and momentum?

Legend: eta lr, b batch size, beta momentum, C^2 noise constant (E|g_batch - g|^2 <= C^2/b),
K largest gradient norm, beta_hat = beta(beta^2-beta+1)/(1-beta)^2.

law     delta                                                  source
sgd     eta/(1-beta) * C/sqrt(b)                               beta=0: arXiv 2311.08745 eq (6)
shb     eta * sqrt((1+beta_hat) C^2/b + beta_hat K^2)          arXiv 2412.11501, SHB
nshb_a  eta * sqrt(C^2/b + 4 beta^2 (C^2/b + K^2))             its authors' earlier code
nshb_b  eta * C/sqrt((1-beta) b)                               its authors' code

With momentum the law sgd is our convention, in neither paper: heavy ball's steps add up to those
of plain SGD at eta/(1-beta). The same update under shb has another delta: a level means nothing
without the name of its law, which `NoiseLaw.formula` tells.

Every law is linear in eta, delta = eta * `gain`, and grows with beta: `momentum_for` inverts it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

CONVENTION = "with momentum our convention, in neither paper"
FORMULAS = {
    "shb": "lr sqrt((1+h) C^2/b + h K^2), h = beta(beta^2-beta+1)/(1-beta)^2; arXiv 2412.11501",
    "nshb_a": "lr sqrt(C^2/b + 4 beta^2 (C^2/b + K^2)); earlier code of arXiv 2412.11501",
    "nshb_b": "lr C/sqrt((1-beta) b); code of arXiv 2412.11501",
}
BELOW_ONE = 1.0 - 1e-9
LAWS = ("sgd", "shb", "nshb_a", "nshb_b")
# The law of each optimizer where the user names none; all others follow sgd.
LAW_OF = {"shb": "shb", "nshb": "nshb_b"}


def momentum_factor(beta: float) -> float:
    """beta_hat of stochastic heavy ball: 0 at beta=0, 81.9 at beta=.9 (arXiv 2412.11501)."""
    return beta * (beta * beta - beta + 1.0) / (1.0 - beta) ** 2


def _invert_momentum_factor(beta_hat: float) -> float:
    """The only root in [0, 1) of beta^3 - (1+u) beta^2 + (1+2u) beta - u, u = beta_hat."""
    low, high = 0.0, BELOW_ONE
    while high - low > 1e-15:  # nine times the spacing of floats below 1
        middle = 0.5 * (low + high)
        low, high = (middle, high) if momentum_factor(middle) < beta_hat else (low, middle)
    return 0.5 * (low + high)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseLaw:
    """delta as a function of lr and batch size.

    Attributes:
        name: one of `LAWS`.
        c2: noise constant C^2 > 0; it only scales delta under laws sgd and nshb_b.
        k: K >= 0, largest gradient norm; used by shb and nshb_a only.
        momentum: beta in [0, 1).
    """

    name: str = "sgd"
    c2: float = 1.0
    k: float = 0.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in LAWS:
            raise ValueError(f"noise.law must be one of {', '.join(LAWS)}, but got {self.name!r}.")
        if not (math.isfinite(self.c2) and self.c2 > 0):
            raise ValueError(f"`noise.c2 > 0` must hold, but got (c2={self.c2}).")
        if not (math.isfinite(self.k) and self.k >= 0):
            raise ValueError(f"`noise.k >= 0` must hold, but got (k={self.k}).")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"`0 <= momentum < 1` must hold, but got (momentum={self.momentum}).")

    @property
    def formula(self) -> str:
        """How delta follows, with the law's name and where it is from, in one line.

        Example:
            >>> NoiseLaw().formula
            'law sgd: delta = lr C/sqrt(b) (arXiv 2311.08745)'
        """
        text = FORMULAS.get(self.name, "lr C/sqrt(b); arXiv 2311.08745")
        if self.name == "sgd" and self.momentum > 0:
            text = f"lr/(1-beta) C/sqrt(b); {CONVENTION}"
        formula, _, source = text.rpartition("; ")
        return f"law {self.name}: delta = {formula} ({source})"

    def gain(self, batch_size: float, momentum: float | None = None) -> float:
        """delta of lr=1 at this batch size (samples, > 0) and momentum (None = the law's own)."""
        noise = self.c2 / batch_size
        beta = self.momentum if momentum is None else momentum
        if self.name == "sgd":
            return math.sqrt(noise) / (1.0 - beta)
        if self.name == "shb":
            beta_hat = momentum_factor(beta)
            return math.sqrt((1.0 + beta_hat) * noise + beta_hat * self.k**2)
        if self.name == "nshb_a":
            return math.sqrt(noise + 4.0 * beta**2 * (noise + self.k**2))
        return math.sqrt(noise / (1.0 - beta))

    def delta(self, lr: float, batch_size: float) -> float:
        """Smoothing level of this lr and batch size."""
        return lr * self.gain(batch_size)

    def lr(self, delta: float, batch_size: float) -> float:
        """The lr that realises `delta` exactly at this batch size."""
        return delta / self.gain(batch_size)

    def momentum_for(self, delta: float, lr: float, batch_size: float) -> float:
        """The beta in [0, 1) that realises `delta` at this lr and batch size.

        0 is the floor: where lr and batch alone make more noise than `delta`, momentum cannot
        lower it further (arXiv 2412.11501, Algorithm 6).
        """
        noise = self.c2 / batch_size
        excess = (delta / lr) ** 2 - noise  # of gain^2 over that of beta = 0
        if excess <= 0:
            return 0.0
        if self.name == "sgd":
            return 1.0 - lr * math.sqrt(noise) / delta
        if self.name == "nshb_a":
            return min(0.5 * math.sqrt(excess / (noise + self.k**2)), BELOW_ONE)
        if self.name == "nshb_b":
            return 1.0 - noise * (lr / delta) ** 2
        return _invert_momentum_factor(excess / (noise + self.k**2))

    @property
    def is_scale_free(self) -> bool:
        """True when C^2 and K cancel from the schedule and only label delta."""
        return self.name in ("sgd", "nshb_b")
