"""A widget for the napari viewer; only ``widget`` imports napari itself."""
