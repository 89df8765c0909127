"""Image files to pixels, the same way everywhere."""
