"""Learn numbers, in standard deviations of the training images' targets."""

from __future__ import annotations

default_loss = "mse"
fitting_losses = ("auto", "mse", "mae", "huber")
is_dense = False
predicts_numbers = True
targets_are_class_numbers = False
