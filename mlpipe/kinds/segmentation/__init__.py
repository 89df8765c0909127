"""A class for each pixel."""

IS_DENSE, HAS_CLASSES, HAS_PROBABILITIES = True, True, True
DRAWS = False
ROWS_ARE_LOSSES = False
COLUMNS: tuple[str, ...] = ()
