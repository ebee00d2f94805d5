"""Fixtures of the attacks: a file of them for each row of the table "What we do not trust" of SECURITY.md."""

from __future__ import annotations

from faults.fault_files import command, no_process_outlives_its_test
from models.classifier_file import classifier_file
from serve.fixtures import client, gate, picture, predictor, service, start
from serve.token_clients import guarded, quick
from trained.model_folder import make_model, make_model_at
from weights.file_server import cache, server
from weights.served_weights import served

__all__ = [
    "cache",
    "classifier_file",
    "client",
    "command",
    "gate",
    "guarded",
    "make_model",
    "make_model_at",
    "no_process_outlives_its_test",
    "picture",
    "predictor",
    "quick",
    "served",
    "server",
    "service",
    "start",
]
