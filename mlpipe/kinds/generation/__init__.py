"""New images, drawn from noise: targets are the images themselves, whatever else is known of them."""

IS_DENSE, HAS_CLASSES, HAS_PROBABILITIES = False, False, False
DRAWS = True
ROWS_ARE_LOSSES = False
COLUMNS: tuple[str, ...] = ()
