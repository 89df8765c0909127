"""Translation of other training programs' files to native configurations: dict in, dict out."""
