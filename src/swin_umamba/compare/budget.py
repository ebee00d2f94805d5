"""The length of a training, in steps or seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
        Wall time of the steps, loading of batches included, as measured for all networks side by side
        (``step_times``).
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

    def describe(self) -> str:
        """Return the budget in words."""
        return f"{self.iterations} iterations" if self.iterations else f"{self.seconds:g} s of training"

    def steps(self, step_seconds: float = 0.0) -> int:
        """Return the number of steps, at least one, of a network whose step takes so long.

        Parameters
        ----------
        step_seconds
            Seconds of a step; only a budget in seconds asks for it.
        """
        if self.iterations is not None:
            return self.iterations
        assert self.seconds is not None
        return max(1, round(self.seconds / step_seconds))


def num_epochs(iterations: int) -> int:
    """Return into how many epochs so many steps are divided."""
    return min(EPOCHS, iterations)


def steps_of_epoch(iterations: int, epoch: int, steps: int) -> int:
    """Return how many steps an epoch has, at least one.

    Parameters
    ----------
    iterations
        Steps of the training.
    epoch
        Counted from 0.
    steps
        Steps so far.
    """
    return max(1, -(-(iterations - steps) // (num_epochs(iterations) - epoch)))
