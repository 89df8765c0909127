"""Several yes-or-no labels for each image."""
