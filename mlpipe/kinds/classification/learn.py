"""Learn classes: logits of which one is true."""

from __future__ import annotations

default_loss = "ce"
fitting_losses = ("auto", "ce", "bce", "focal")
is_dense = False
predicts_numbers = False
targets_are_class_numbers = True
