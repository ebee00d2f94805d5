"""A widget for the viewer napari; only ``widget`` imports napari itself."""
