"""Builds the network, loss, optimizer and loaders of a task from the sections of a recipe."""
