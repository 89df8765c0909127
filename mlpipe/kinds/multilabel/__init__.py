"""Several yes-or-no labels for each image."""

IS_DENSE, HAS_CLASSES, HAS_PROBABILITIES = False, False, True
DRAWS = False
ROWS_ARE_LOSSES = False
COLUMNS: tuple[str, ...] = ()
