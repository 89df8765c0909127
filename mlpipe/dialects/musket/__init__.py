"""Translation of Musket's experiments (config.yaml) to native configurations."""

from mlpipe.dialects.musket.reading import Home, check_header, header, united
from mlpipe.dialects.musket.sections.losses import names_of
from mlpipe.dialects.musket.targets import additions_of, code_of, data_of, filled, targets_of
from mlpipe.dialects.musket.translate import translate

__all__ = [
    "Home", "additions_of", "check_header", "code_of", "data_of", "filled", "header", "names_of", "targets_of", "translate",
    "united",
]  # fmt: skip
