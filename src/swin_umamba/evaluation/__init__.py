"""Metrics, and the evaluation of whole folders."""
