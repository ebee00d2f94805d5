"""Objects as annotation programs store them, read as a map with a number for each object.

``reading.py`` is the way in: a map of numbers, a folder with one file for each object, or a file of outlines
of COCO, LabelMe, ImageJ or QuPath, each of which has a module here that yields :class:`OneObject`.
"""
