"""A class for each pixel."""

IS_DENSE, HAS_CLASSES, HAS_PROBABILITIES = True, True, True
DRAWS = False
COLUMNS: tuple[str, ...] = ()
