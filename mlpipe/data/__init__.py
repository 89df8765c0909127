"""Tasks, splits, images and their cache, loaders; knows nothing of configuration or projects."""
