"""Solutions of an equation, learned without target solutions."""

IS_DENSE, HAS_CLASSES, HAS_PROBABILITIES = True, False, False
DRAWS = False
ROWS_ARE_LOSSES = True
COLUMNS: tuple[str, ...] = ()
