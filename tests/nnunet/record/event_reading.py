"""Reads event files with TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path

Curves = dict[str, list[tuple[int, float]]]


def read_events(folder: Path) -> Curves:
    """Return (step, value) of each curve that TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }
