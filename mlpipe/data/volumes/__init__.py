"""Large arrays in files: read piece by piece, cut into slices, and assembled again."""
