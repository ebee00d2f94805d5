"""Collects the records of a run or an evaluation for a report."""
