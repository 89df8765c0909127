"""Solutions of an equation, which no target tells."""

IS_DENSE, HAS_CLASSES, HAS_PROBABILITIES = True, False, False
DRAWS = False
ROWS_ARE_LOSSES = True
COLUMNS: tuple[str, ...] = ()
