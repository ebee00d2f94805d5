"""What a server takes and keeps at most."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20
# What a multipart body holds besides its files: boundaries, and names of a few kilobytes.
FORM_OVERHEAD = 2**16
# Files of one DICOM series.
MOST_SLICES = 4096


@dataclass(frozen=True)
class Limits:
    """What a server takes and keeps at most.

    Attributes
    ----------
    upload_bytes
        Size of all files of one request together.
    voxels
        Values of one image, all channels together.
    queue
        Jobs that wait or run.
    kept
        Finished jobs of one client; the one that it has not asked for longest makes place.
    kept_bytes
        What the finished jobs of one client may take on the disk, as for ``kept``; its last one stays.
    clients
        Clients with finished jobs: nobody's results make place for another's, but those of who is away.
    away_seconds
        After so long without a request for any of its jobs, a client makes place for one that is too many.
    idle_seconds
        After so long without a request for it, a finished job is deleted.
    silence_seconds
        After so long without a byte, an upload is given up.
    slowest_upload
        Bytes per second over the whole upload: a slower one is given up, after ``silence_seconds``.
    upload_seconds
        After so long, an upload that has not ended is given up.
    job_seconds
        After so long, a prediction is given up.
    uploads_at_once
        Uploads of full size that may lie on the disk together, those of waiting jobs included.
    share
        What one client may take of the places in the queue and of the room for uploads.
    """

    upload_bytes: int = 256 * MIB
    voxels: int = 2**27
    queue: int = 8
    kept: int = 16
    kept_bytes: int = 512 * MIB
    clients: int = 16
    away_seconds: float = 300.0
    idle_seconds: float = 1800.0
    silence_seconds: float = 20.0
    slowest_upload: float = 16 * 1024
    upload_seconds: float = 1800.0
    job_seconds: float = 3600.0
    uploads_at_once: int = 4
    share: float = 0.5
