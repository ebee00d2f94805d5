"""Comparing networks on equal terms: their sizes, a training of each, and what the differences are worth."""
