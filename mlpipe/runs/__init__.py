"""A project on disk: runs, records, predictions; needs no torch."""
