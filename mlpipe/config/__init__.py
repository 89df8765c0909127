"""From overrides to a checked configuration; the only package that imports Hydra and OmegaConf."""
