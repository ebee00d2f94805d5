"""Fixtures of the tests of the server."""

from __future__ import annotations

from serve.fixtures import client, gate, listen, picture, predictor, predictor_of_two, service, start
from serve.token_clients import guarded, quick

__all__ = [
    "client",
    "gate",
    "guarded",
    "listen",
    "picture",
    "predictor",
    "predictor_of_two",
    "quick",
    "service",
    "start",
]
