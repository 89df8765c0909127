"""An image for each image."""

IS_DENSE, HAS_CLASSES, HAS_PROBABILITIES = True, False, False
DRAWS = False
COLUMNS: tuple[str, ...] = ()
