"""One class for each image."""

IS_DENSE, HAS_CLASSES, HAS_PROBABILITIES = False, True, True
DRAWS = False
ROWS_ARE_LOSSES = False
COLUMNS: tuple[str, ...] = ()
