"""Forward kernel of the fused four-direction 2D scan for one state a channel (``single_state.py``)."""

from __future__ import annotations

from swin_umamba.ops.native.chunk import CHUNK, chunk_count
from swin_umamba.ops.native.compile import kernel
from swin_umamba.ops.native.projection import project_dt
from swin_umamba.ops.native.single_state import (
    TILES_SIZE,
    ChunkPlaces,
    compute_decays,
    compute_powers,
    new_tiles,
    scale_for_base_2,
    scale_input_weights,
    scan_chunk,
)
from swin_umamba.ops.native.ss2d_tiles import (
    gather_parameters,
    gather_rows,
    new_channel_values,
    new_parameters,
    new_pixels,
    new_rows,
    parameters_of_block,
    prefetch_rows,
    states_offset,
    visit_pixels,
)
from swin_umamba.ops.native.vector import LANES, clear, load, pointer, store, stream, zeros_aligned


@kernel
def ss2d_single_forward(  # type: ignore[no-untyped-def]
    batch, first_block, blocks, height, width, x, x_dbl, dt_projs_weight, dt_projs_bias, A, D, y, saved_states
):
    """Do as ``ss2d_forward`` does, where ``d_state`` is 1."""
    # 1. Memory.
    length, d_inner = x.shape[1:]
    dt_rank, columns = dt_projs_weight.shape[2], x_dbl.shape[3]
    save = saved_states.size > 0
    pixels, next_pixels = new_pixels(), new_pixels()
    tiles_memory = zeros_aligned(TILES_SIZE)
    rows = new_rows(columns)
    parameters = new_parameters(blocks, dt_rank, 1)
    states = new_channel_values(blocks, 1)

    # 2. Direction by direction, chunk by chunk, while the pixels of the next one are fetched.
    for direction in (0, 2, 1, 3):
        gather_parameters(direction, first_block, dt_projs_weight, dt_projs_bias, A, D, parameters)
        scale_for_base_2(parameters)
        clear(states, states.size)
        visit_pixels(direction, 0, min(CHUNK, length), height, width, next_pixels)
        for chunk in range(chunk_count(length)):
            pixels, next_pixels = next_pixels, pixels
            first_step = chunk * CHUNK
            steps = min(CHUNK, length - first_step)
            next_steps = min(CHUNK, length - first_step - steps)
            visit_pixels(direction, first_step + CHUNK, next_steps, height, width, next_pixels)
            prefetch_rows(batch, direction, next_pixels, next_steps, x_dbl)
            gather_rows(batch, direction, pixels, steps, x_dbl, rows)
            scale_input_weights(steps, columns, pointer(rows, dt_rank))
            image = ChunkPlaces(pixels, next_pixels, d_inner, direction > 0)
            # 3. Block by block of 16 channels.
            for block in range(blocks):
                h = pointer(states, block * LANES)
                if save:
                    saved = states_offset(batch, direction, chunk, first_block + block, saved_states)
                    stream(saved_states, saved, load(h, 0))
                tiles = new_tiles(tiles_memory)
                here = parameters_of_block(block, dt_rank, 1, parameters)
                project_dt(
                    steps, dt_rank, columns, rows, here.dt_projs_weight, here.dt_projs_bias, tiles.step
                )
                compute_powers(steps, tiles)
                compute_decays(steps, load(here.A, 0), tiles)
                first = batch * length * d_inner + (first_block + block) * LANES
                state = scan_chunk(
                    steps, columns, tiles, pointer(rows, dt_rank), load(here.D, 0), load(h, 0), image,
                    pointer(x, first), pointer(y, first),
                )  # fmt: skip
                store(h, 0, state)
