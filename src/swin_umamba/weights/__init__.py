"""Weights as files and state dicts: reading, checking, converting. Nothing here knows a network."""
