"""Files of other training programs, translated to the native configuration: dict in, dict out."""
