"""Weights as files and state dicts: reading, checking, converting. This floor knows no network."""
