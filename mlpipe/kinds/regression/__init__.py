"""Numbers for each image."""

IS_DENSE, HAS_CLASSES, HAS_PROBABILITIES = False, False, False
DRAWS = False
COLUMNS: tuple[str, ...] = ()
