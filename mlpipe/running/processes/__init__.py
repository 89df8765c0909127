"""Child processes: folds in parallel, and one process for each device."""
