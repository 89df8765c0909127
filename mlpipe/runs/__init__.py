"""A project on disk: runs, records, predictions; does not need torch."""
