"""New images drawn from noise: the targets are the images themselves; other labels do not matter."""

IS_DENSE, HAS_CLASSES, HAS_PROBABILITIES = False, False, False
DRAWS = True
ROWS_ARE_LOSSES = False
COLUMNS: tuple[str, ...] = ()
