"""Objects of an instance map: their table, their outlines, and files for other programs."""
