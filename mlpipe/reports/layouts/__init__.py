"""Files and folders that other programs promise, written from records."""
