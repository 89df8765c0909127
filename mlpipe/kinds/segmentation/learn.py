"""Learn masks: logits of classes for every pixel, of which counts are kept."""

from __future__ import annotations

default_loss = "ce"
fitting_losses = ("auto", "ce", "focal", "dice", "jaccard", "lovasz")
is_dense = True
predicts_numbers = False
targets_are_class_numbers = True
