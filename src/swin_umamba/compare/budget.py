"""How long a training may take, in steps or in seconds."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from swin_umamba.errors import UsageError

EPOCHS = 10
"""What any budget is divided into; learning rates do not depend on it, they change with every step."""

SECONDS_OF_UNIT = {"s": 1, "min": 60, "h": 3600}
FORM = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>s|min|h)")


@dataclass(frozen=True)
class Budget:
    """Steps or seconds of a training; exactly one of both.

    Attributes
    ----------
    iterations
        Optimizer steps.
    seconds
        Wall time of the steps and of loading their batches.
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
            If it has another form.
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
        """The number of epochs that it is divided into."""
        return EPOCHS if self.iterations is None else min(EPOCHS, self.iterations)

    def done(self, steps: int, seconds: float) -> float:
        """Return the part, 0 to 1, that so many steps in so many seconds are."""
        part = seconds / self.seconds if self.seconds else steps / (self.iterations or 1)
        return min(part, 1.0)

    def steps_of_epoch(self, epoch: int, steps: int, seconds: float) -> int:
        """Return how many steps an epoch should have, at least one.

        Parameters
        ----------
        epoch
            Counted from 0.
        steps, seconds
            Taken before. The first epoch of a budget of seconds has a single step, to see how long one takes.
        """
        if self.iterations is not None:
            left = self.epochs - epoch
            return max(1, -(-(self.iterations - steps) // left))
        assert self.seconds is not None
        if steps == 0:
            return 1
        until = self.seconds * (epoch + 1) / self.epochs
        return max(1, round((until - seconds) / (seconds / steps)))
