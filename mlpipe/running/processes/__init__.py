"""Child processes: folds side by side, and one process for each device."""
