"""Run a checked configuration: plans, steps, processes, searches, sweeps and clusters."""
