"""Images decoded and resized once, packed into memory-mapped files."""
