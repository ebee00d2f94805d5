"""What nnU-Net prints goes to the log."""

from __future__ import annotations

import logging
import sys

import pytest

from swin_umamba.nnunet import stdout


def test_printed_lines_reach_the_log_whole(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger=stdout.__name__), stdout.stdout_to_log():
        sys.stdout.write("one two")
        sys.stdout.write(" three\n\nfour\n")
    assert [record.message for record in caplog.records] == ["nnU-Net: one two three", "nnU-Net: four"]
