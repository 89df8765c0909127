"""The sections of a Barrage configuration, each translated by a file of its own."""
