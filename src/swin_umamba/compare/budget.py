"""The length of a training, in steps or seconds."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from swin_umamba.errors import UsageError

EPOCHS = 10
"""Number of epochs of any budget; learning rates change with every step and do not depend on it."""

SECONDS_OF_UNIT = {"s": 1, "min": 60, "h": 3600}
FORM = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>s|min|h)")


@dataclass(frozen=True)
class Budget:
    """Steps or seconds of a training, exactly one of the two.

    Attributes
    ----------
    iterations
        Optimizer steps.
    seconds
        Wall time of the steps, loading of batches included.
    """

    iterations: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.iterations, self.seconds) if value is not None]
        if len(given) != 1 or not given[0] > 0:
            raise UsageError(
                f"a budget of {self.iterations} iterations and {self.seconds} seconds",
                hint="give a positive number of either",
            )

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``500`` (iterations) or ``90s``, ``10min``, ``1.5h`` (wall time of each training).

        Raises
        ------
        UsageError
            If the text has another form.
        """
        if text.isdecimal():
            return cls(iterations=int(text))
        match = FORM.fullmatch(text)
        if match is None:
            raise UsageError(
                f"cannot read the budget {text!r}",
                hint="give iterations, such as 500, or wall time, such as 90s, 10min or 1.5h",
            )
        return cls(seconds=float(match["number"]) * SECONDS_OF_UNIT[match["unit"]])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def describe(self) -> str:
        """Return the budget in words."""
        return f"{self.iterations} iterations" if self.iterations else f"{self.seconds:g} s of training"

    @property
    def epochs(self) -> int:
        """Number of epochs into which the budget is divided."""
        return EPOCHS if self.iterations is None else min(EPOCHS, self.iterations)

    def done(self, steps: int, seconds: float) -> float:
        """Return the fraction of the budget, 0 to 1, used up by these steps and seconds."""
        part = seconds / self.seconds if self.seconds else steps / (self.iterations or 1)
        return min(part, 1.0)

    def steps_of_epoch(self, epoch: int, steps: int, seconds: float) -> int:
        """Return how many steps an epoch should have, at least one.

        Parameters
        ----------
        epoch
            Counted from 0.
        steps, seconds
            Steps and seconds so far. The first epoch of a budget in seconds has a single step, to see how
            long one takes.
        """
        if self.iterations is not None:
            left = self.epochs - epoch
            return max(1, -(-(self.iterations - steps) // left))
        assert self.seconds is not None
        if steps == 0:
            return 1
        until = self.seconds * (epoch + 1) / self.epochs
        return max(1, round((until - seconds) / (seconds / steps)))
