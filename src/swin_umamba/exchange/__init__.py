"""Results in the forms that hospitals exchange: DICOM segmentations of a series.

Modules: ``source`` (the headers of the images that were segmented), ``values`` (what they have to hold),
``identity`` (headers without the patient), ``codes`` (what a segment is, in the words of SNOMED CT),
``segmentation`` (the object itself), ``fractions`` (probabilities as its frames).
highdicom writes; it comes with the extra ``dicom`` and is imported where it is needed.
"""
