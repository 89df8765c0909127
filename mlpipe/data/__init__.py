"""Tasks, splits, images and their cache, and loaders; independent of configuration and projects."""
