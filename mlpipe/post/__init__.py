"""What can be computed from predictions alone."""
