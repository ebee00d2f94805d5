"""Compiled CPU kernels of the scans: Numba, float32, no compiler needed at install time.

``ss2d_scan`` and ``selective_scan`` offer the functions that every backend offers; the kernels behind them
are imported, and compiled or read from the disk cache, at the first call. Importing this package costs
nothing.
"""
