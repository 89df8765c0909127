"""Cross-validated, calibrated, ensembled image models from configuration alone."""

__version__ = "0.1.0"
