"""Checkpoints, locks and states that a run resumes from."""
