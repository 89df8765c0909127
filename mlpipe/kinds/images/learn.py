"""Learn target images: values for every pixel, of which sums of errors are kept."""

from __future__ import annotations

default_loss = "mse"
fitting_losses = ("auto", "mse", "mae", "huber", "bce")
is_dense = True
predicts_numbers = True
targets_are_class_numbers = False
