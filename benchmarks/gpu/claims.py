"""What README and documentation say about GPUs, and what a record says about each.

The one list of such claims: a sentence about a GPU belongs here with the findings that decide about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gpu.record import Record

UNKNOWN = "not shown"


class Claim(NamedTuple):
    """A claim, the file that makes it, a phrase of it there, and the steps that must have passed."""

    text: str
    place: str
    phrase: str
    steps: tuple[int, ...]


CLAIMS = (
    Claim("The package runs on a GPU", "README.md", "runs on CPU and GPU", (1, 2, 3, 6)),
    Claim(
        "The Triton kernels run on this card", "docs/how_it_works.md", "written in Triton for CUDA", (1, 2)
    ),
    Claim(
        "No kernel adds atomically, so equal inputs give equal bits", "CHANGELOG.md", "without atomics", (5,)
    ),
    Claim(
        "Outputs on CUDA agree with the CPU up to rounding",
        "docs/how_it_works.md",
        "differ between devices by rounding",
        (3, 6),
    ),
    Claim("Networks train in float16 on CUDA", "docs/how_it_works.md", "training is in float16", (6, 7)),
    Claim(
        "Kernels run from compute capability 7.5",
        "CHANGELOG.md",
        "compute capability below\n  7.5",
        (1, 2, 3),
    ),
)


def verdicts(record: Record) -> list[dict[str, str]]:
    """Return each claim with its verdict: shown, refuted, or not shown; a rehearsal shows nothing."""
    return [
        {"claim": claim.text, "place": claim.place, "verdict": _verdict(record, claim.steps)}
        for claim in CLAIMS
    ]


def _verdict(record: Record, steps: Sequence[int]) -> str:
    if record.rehearsal:
        return f"{UNKNOWN}: a rehearsal"
    known = {number: record.steps.get(str(number)) for number in steps}
    wrong = [number for number, step in known.items() if step is not None and step.status in _WRONG]
    if wrong:
        return f"refuted by step {wrong[0]}"
    open_steps = [number for number, step in known.items() if step is None or step.status not in _DONE]
    if open_steps:
        return f"{UNKNOWN}: step {', '.join(map(str, open_steps))} not run"
    return f"shown by step {', '.join(map(str, steps))}"


_DONE, _WRONG = ("passed", "warned"), ("failed", "crashed", "timed out")
