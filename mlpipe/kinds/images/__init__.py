"""An output image for each input image."""

IS_DENSE, HAS_CLASSES, HAS_PROBABILITIES = True, False, False
DRAWS = False
ROWS_ARE_LOSSES = False
COLUMNS: tuple[str, ...] = ()
