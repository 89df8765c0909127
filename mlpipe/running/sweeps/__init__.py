"""Many runs of one command: combinations of values, searches with their trials, and jobs on a cluster."""
