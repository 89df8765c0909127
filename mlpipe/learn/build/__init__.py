"""Network, loss, optimizer and loaders of a task, built from the sections of a recipe."""
