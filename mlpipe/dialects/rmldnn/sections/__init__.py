"""The sections of an rmldnn configuration, each translated by a file of its own."""
