"""Results in the forms that hospitals exchange: DICOM segmentations of a series.

Modules: ``source`` (the headers of the images that were segmented), ``codes`` (what a segment is, in the
words of SNOMED CT), ``segmentation`` (the object itself), ``record`` (what is said of it beside it).
highdicom writes; it comes with the extra ``dicom`` and is imported where it is needed.
"""
