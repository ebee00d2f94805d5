"""Compiled CPU kernels of the scans: Numba, float32, no compiler needed at install time.

``ss2d_scan`` and ``selective_scan`` offer the functions of every backend; the kernels behind them are
imported, and compiled or read from the disk cache, on the first call. Importing this package costs nothing.
"""
