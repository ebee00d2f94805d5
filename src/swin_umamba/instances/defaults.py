"""Defaults shown by the command line, free of the heavy imports of their users."""

MIN_SIZE = 16
"""Objects of fewer pixels (voxels) are specks; no smaller interior is trained on either."""
