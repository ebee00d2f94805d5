"""Limits on what a server accepts and keeps."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20
# Overhead of a multipart body besides its files: boundaries, and names of a few kilobytes.
FORM_OVERHEAD = 2**16
# Files of one DICOM series.
MOST_SLICES = 4096


@dataclass(frozen=True)
class Limits:
    """Limits on what a server accepts and keeps.

    Attributes
    ----------
    upload_bytes
        Total size of all files in one request.
    voxels
        Number of values in one image, over all channels.
    queue
        Number of jobs that are waiting or running.
    kept
        Number of finished jobs of one client; the one not requested for the longest time is deleted first.
    kept_bytes
        Disk space of the finished jobs of one client, handled as for ``kept``; the last one always stays.
    all_kept_bytes
        Disk space of the finished jobs of all clients. Of the client that takes most of it, the job not
        requested for the longest time is deleted first, but not its last one.
    clients
        Number of clients with finished jobs. Results are only deleted for another client if their owner is
        away.
    away_seconds
        Time without a request for any of its jobs after which a client counts as away.
    idle_seconds
        Time without a request after which a finished job is deleted.
    silence_seconds
        Time without a byte after which an upload is aborted.
    slowest_upload
        Lowest average rate of an upload in bytes per second; a slower one is aborted after
        ``silence_seconds``.
    upload_seconds
        Longest duration of an upload.
    job_seconds
        Longest duration of a prediction.
    uploads_at_once
        Number of uploads of full size that fit on the disk together, including those of waiting jobs.
    share
        Fraction of the places in the queue, and of the space for uploads, that one client may use.
    """

    upload_bytes: int = 256 * MIB
    voxels: int = 2**27
    queue: int = 8
    kept: int = 16
    kept_bytes: int = 512 * MIB
    all_kept_bytes: int = 2048 * MIB
    clients: int = 16
    away_seconds: float = 300.0
    idle_seconds: float = 1800.0
    silence_seconds: float = 20.0
    slowest_upload: float = 16 * 1024
    upload_seconds: float = 1800.0
    job_seconds: float = 3600.0
    uploads_at_once: int = 4
    share: float = 0.5
