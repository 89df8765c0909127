"""Numbers for each image."""

IS_DENSE, HAS_CLASSES, HAS_PROBABILITIES = False, False, False
DRAWS = False
ROWS_ARE_LOSSES = False
COLUMNS: tuple[str, ...] = ()
