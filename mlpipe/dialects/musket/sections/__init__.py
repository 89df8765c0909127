"""The sections of a Musket experiment, each translated by a file of its own."""
