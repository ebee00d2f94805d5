"""Data sets: from a source's own layout to nnU-Net's raw layout."""
