"""Compose overrides into a checked configuration; the only package that imports Hydra and OmegaConf."""
