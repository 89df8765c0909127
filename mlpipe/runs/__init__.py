"""What a project holds on disk: runs, records, predictions; needs no torch."""
