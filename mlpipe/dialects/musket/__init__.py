"""Musket's classification experiments (config.yaml) as native configurations."""

from mlpipe.dialects.musket.reading import Home, header
from mlpipe.dialects.musket.translate import translate

__all__ = ["Home", "header", "translate"]
