"""The GPU kernels, written in Triton and imported only when a scan runs on them.

Both scans cut time into chunks that all run side by side, so that a single image fills a GPU:

1. ``*_chunks.py``: what each chunk adds to the state if it starts from zero, and the sum of its step sizes;
2. ``chain.py``: from these, one after another, the state that enters each chunk;
3. ``*_outputs.py``: every chunk again, from its true state, with the outputs.

1 and 3 are loops over time (``time_loop.py``), whose chunks may be long. The backward does 1 and 2 once
more, instead of reading states that the forward would have to keep, walks through the chunks for the states
that enter each of their tiles, and does the same with the adjoint, which runs back in time. Then it computes
all gradients of a tile (``*_gradients.py``, ``tiles.py``) from the state that enters it and the gradient of
the state that leaves it. Where the rank of dt is large, one matrix product projects it before all of these,
and once more before the backward; else each kernel does. States, step sizes, exponentials and sums are
float32 whatever the tensors hold. Sums over chunks and channel blocks go through memory and are added up in a
fixed order; no kernel uses an atomic addition, so equal inputs give equal bits on one device.

So far no GPU was available: values are checked in Triton's interpreter, registers and shared memory in the
machine code that Triton compiles without a device. Speed is unmeasured, and the sizes in ``launch.py`` are
reasoned, not tuned; ``python benchmarks/ss2d.py --device cuda`` checks and times everything on a GPU.
"""
