"""Lungsight among the machines of a hospital: a DICOM node with a queue that survives, and DICOMweb."""
