"""Several runs of one command: combinations of values, searches with trials, and jobs on a cluster."""
