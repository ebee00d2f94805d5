"""The parts of ``benchmarks/gpu_check.py``: what is checked on a GPU, and how its record is kept."""
