"""Checking, planning and preprocessing a data set."""
