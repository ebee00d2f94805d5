"""Both scans on every backend, over swept sizes, options, dtypes and threads: outputs and all gradients.

The default run draws a few dozen cases for each backend, always the same ones; ``-m slow`` draws many.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ops.scan_inputs import errors_against_reference, image_inputs, sequence_inputs, threads
from swin_umamba.ops.backend import backend_status, compute_dtype

if importlib.util.find_spec("triton"):
    from ops.triton_interpreter import DEVICE, fast_interpreter  # noqa: F401
else:
    DEVICE = torch.device("cpu")

# In units of the largest number of each tensor: the sums, in the precision of the backend, and then the one
# rounding to the dtype of the tensor. (Triton's interpreter cuts bfloat16 off instead of rounding it.)
SUMS = {torch.float64: 1e-12, torch.float32: 5e-6}
ROUNDING = {torch.float64: 0.0, torch.float32: 2**-24, torch.bfloat16: 2**-7, torch.float16: 2**-11}

OPTIONS = ("D", "z", "delta_bias")
ACTIVATIONS = ("u", "z", "x", "x_dbl")  # what is in half precision under autocast
EDGES = (1, 15, 16, 17, 31, 32, 33, 63, 64, 65)  # around a vector, a chunk, two chunks
SINGLE = (torch.float32, torch.float32, torch.bfloat16, torch.float16)  # half of all in float32


@dataclass(frozen=True)
class Sweep:
    """What is drawn for one backend: dtypes, the most channels of a group, steps and states; how many."""

    dtypes: tuple[torch.dtype, ...]
    channels: int
    steps: int
    states: int
    few: int
    many: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


SWEEPS = {
    "native": Sweep(SINGLE, 70, 70, 20, few=15, many=1000),
    "chunked": Sweep((torch.float64, *SINGLE), 40, 70, 20, few=10, many=500),
    "triton": Sweep(SINGLE, 35, 18, 3, few=2, many=50, device=DEVICE),
}
EXTENTS = ["few", pytest.param("many", marks=pytest.mark.slow)]


@dataclass(frozen=True)
class Case:
    """One scan; ``sizes`` are arguments of `sequence_inputs` or `image_inputs`."""

    sizes: dict[str, int]
    dtype: torch.dtype
    activation_dtype: torch.dtype
    threads: int
    absent: tuple[str, ...] = ()
    delta_softplus: bool = True


def numbers(low: int, high: int) -> st.SearchStrategy[int]:
    """Sizes, with a liking for the edges of vectors and chunks."""
    return st.integers(low, high) | st.sampled_from([edge for edge in EDGES if low <= edge <= high])


@st.composite
def sequences(draw: Any, sweep: Sweep) -> Case:
    """Sequences of one to a few groups of channels, with any of the options."""
    groups = draw(st.sampled_from([1, 2, 3, 5]))
    sizes = {
        "length": draw(numbers(1, sweep.steps)),
        "batch": draw(st.integers(1, 2)),
        "groups": groups,
        "dim": groups * draw(numbers(1, sweep.channels)),
        "d_state": draw(numbers(1, sweep.states)),
    }
    absent = tuple(option for option in OPTIONS if draw(st.booleans()))
    return Case(sizes, *draw(_dtypes_and_threads(sweep)), absent, draw(st.booleans()))


@st.composite
def images(draw: Any, sweep: Sweep) -> Case:
    """Images of any shape, from a row to a column."""
    side = draw(st.integers(1, 9))
    sides = (side, draw(numbers(1, max(1, sweep.steps // side))))
    height, width = draw(st.permutations(sides))
    sizes = {
        "height": height,
        "width": width,
        "batch": draw(st.integers(1, 2)),
        "d_inner": draw(numbers(1, sweep.channels)),
        "d_state": draw(numbers(1, sweep.states)),
        "dt_rank": draw(numbers(1, 20)),
    }
    return Case(sizes, *draw(_dtypes_and_threads(sweep)))


def _dtypes_and_threads(sweep: Sweep) -> st.SearchStrategy[tuple[torch.dtype, torch.dtype, int]]:
    dtype = st.sampled_from(sweep.dtypes)
    return st.tuples(dtype, dtype, st.integers(1, 3))


def check(backend: str, make: Callable[..., dict[str, Tensor]], case: Case) -> None:
    """Compare one scan with the reference."""
    torch.manual_seed(0)
    inputs = {name: tensor for name, tensor in make(**case.sizes).items() if name not in case.absent}
    if not case.delta_softplus and "delta_bias" in inputs:
        inputs["delta_bias"].data.abs_()  # a step must not be negative
    dtypes = {name: case.activation_dtype if name in ACTIVATIONS else case.dtype for name in inputs}
    with threads(case.threads):
        errors = errors_against_reference(
            backend, inputs, device=SWEEPS[backend].device, dtypes=dtypes, delta_softplus=case.delta_softplus
        )
    computed = compute_dtype(*dtypes.values())
    rounded = {f"gradient of {name}": dtype for name, dtype in dtypes.items()}
    rounded |= {"output": case.activation_dtype, "last state": computed}
    wrong = {
        name: error for name, error in errors.items() if not error < SUMS[computed] + ROUNDING[rounded[name]]
    }
    assert not wrong, f"{backend} is off by {wrong}"


def run(backend: str, extent: str, cases: Callable[[Sweep], Any], make: Callable[..., Any]) -> None:
    """Draw cases, the same in every run, and check each."""
    if not backend_status(backend).available:
        pytest.skip(backend_status(backend).reason)
    sweep = SWEEPS[backend]

    @settings(max_examples=getattr(sweep, extent), derandomize=True, database=None, deadline=None)
    @given(cases(sweep))
    def check_case(case: Case) -> None:
        check(backend, make, case)

    check_case()


@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("backend", ["native", "chunked"])
def test_sequences_of_any_size(backend: str, extent: str) -> None:
    run(backend, extent, sequences, sequence_inputs)


@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("backend", ["native", "chunked"])
def test_images_of_any_size(backend: str, extent: str) -> None:
    run(backend, extent, images, image_inputs)


@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="Triton is not installed")
@pytest.mark.usefixtures("fast_interpreter")
@pytest.mark.parametrize(
    ("cases", "make", "extent"),
    [
        (sequences, sequence_inputs, "few"),
        pytest.param(sequences, sequence_inputs, "many", marks=pytest.mark.slow),
        # The interpreter takes seconds for an image; the edges of images are in `test_triton`.
        pytest.param(images, image_inputs, "many", marks=pytest.mark.slow),
    ],
)
def test_triton_of_any_size(cases: Callable[..., Any], make: Callable[..., Any], extent: str) -> None:
    run("triton", extent, cases, make)
