"""Images, decoded and resized once, in memory-mapped files."""
