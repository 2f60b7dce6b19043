"""Results on disk: masks, overlays, the table, the contact sheet, DICOM segmentations."""
