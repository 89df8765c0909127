"""From a checked configuration to results: plans, steps, processes, searches, sweeps and clusters."""
