"""Numbers that the command line shows, without what computes with them."""

MIN_SIZE = 16
"""Objects of fewer pixels (voxels) are specks; no smaller interior is trained on either."""
