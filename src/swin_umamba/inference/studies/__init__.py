"""Trees of DICOM studies: which of their series are predicted, and what became of each."""
