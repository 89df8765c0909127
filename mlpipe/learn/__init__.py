"""The one place where data meets networks: fit a fold, predict with it."""
