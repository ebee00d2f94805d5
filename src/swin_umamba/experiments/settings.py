"""Settings of a run of a recipe: the paper's, or fewer steps on smaller patches within a budget."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from swin_umamba.errors import UsageError
from swin_umamba.paper import (
    FROZEN_EPOCHS,
    ITERATIONS_PER_EPOCH,
    SCHEDULE_EPOCHS,
    VALIDATION_ITERATIONS,
    PaperExperiment,
)

# Epochs of a shortened run, and the divisors of its patch's sides and of its batch.
SHORT_EPOCHS = 10
PATCH_DIVISOR = 2
BATCH_DIVISOR = 4
MIN_BATCH = 2
STRIDE = 32


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run; the same for all trainers in its folder.

    Attributes
    ----------
    epochs, iterations_per_epoch, validation_iterations, patch_size, batch_size, schedule
        As in ``TrainingOptions``.
    frozen_epochs
        Frozen epochs of the trainers with pretrained weights.
    """

    epochs: int
    iterations_per_epoch: int
    validation_iterations: int
    patch_size: tuple[int, int]
    batch_size: int
    frozen_epochs: int
    schedule: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "patch_size": list(self.patch_size)}

    @property
    def steps(self) -> int:
        """Training steps."""
        return self.epochs * self.iterations_per_epoch


def choose_settings(
    recipe: PaperExperiment,
    *,
    budget: int | None = None,
    patch_size: tuple[int, int] | None = None,
    batch_size: int | None = None,
) -> RunSettings:
    """Return the paper's settings, or shortened ones.

    Parameters
    ----------
    recipe
        The experiment.
    budget
        Number of training steps. The learning rate then falls to its final value within them, and patch and
        batch are smaller.
    patch_size, batch_size
        Replacements for the default ones.

    Raises
    ------
    UsageError
        ``budget`` is not positive, or not shorter than the paper's training.
    """
    if budget is None:
        return RunSettings(
            epochs=recipe.epochs,
            iterations_per_epoch=ITERATIONS_PER_EPOCH,
            validation_iterations=VALIDATION_ITERATIONS,
            patch_size=patch_size or recipe.patch_size,
            batch_size=batch_size or recipe.batch_size,
            frozen_epochs=FROZEN_EPOCHS,
            schedule="paper",
        )
    if not 0 < budget < recipe.steps:
        raise UsageError(
            f"a budget of {budget} training steps",
            where="--budget",
            hint=f"give at least 1 and fewer than the {recipe.steps} of the paper, or leave it out",
        )
    epochs = min(SHORT_EPOCHS, budget)
    iterations = budget // epochs
    height, width = (_divided(side) for side in recipe.patch_size)
    return RunSettings(
        epochs=epochs,
        iterations_per_epoch=iterations,
        validation_iterations=max(1, iterations * VALIDATION_ITERATIONS // ITERATIONS_PER_EPOCH),
        patch_size=patch_size or (height, width),
        batch_size=batch_size or max(MIN_BATCH, recipe.batch_size // BATCH_DIVISOR),
        frozen_epochs=round(FROZEN_EPOCHS * epochs / recipe.epochs),
        schedule="annealed",
    )


def deviations(recipe: PaperExperiment, settings: RunSettings) -> list[str]:
    """Return the deviations from the paper."""
    paper, ours = choose_settings(recipe).as_dict(), settings.as_dict()
    lines = [
        f"{name.replace('_', ' ')}: {_shown(ours[name])}, in the paper {_shown(paper[name])}"
        for name in paper
        if ours[name] != paper[name]
    ]
    if settings.steps != recipe.steps:
        part = settings.steps / recipe.steps
        lines.append(f"training steps: {settings.steps} of {recipe.steps}, {part:.2%}")
    return lines


def _divided(side: int) -> int:
    """Return a side of the smaller patch: a multiple of the networks' stride."""
    return max(STRIDE, round(side / PATCH_DIVISOR / STRIDE) * STRIDE)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " x ".join(map(str, value))
    return {"paper": f"cosine made for {SCHEDULE_EPOCHS} epochs", "annealed": "cosine to its end"}.get(
        value, str(value)
    )
