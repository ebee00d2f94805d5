"""Objects as stored by annotation programs, read as a map with a number for each object.

Start with ``reading.py``: it takes a map of numbers, a folder with one file per object, or an outline file
from COCO, LabelMe, ImageJ or QuPath, each of which has a module here that yields :class:`OneObject`.
"""
