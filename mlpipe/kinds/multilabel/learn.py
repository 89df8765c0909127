"""Learn labels: a logit of each, of which several may hold."""

from __future__ import annotations

default_loss = "bce"
fitting_losses = ("auto", "bce", "focal", "asymmetric")
is_dense = False
predicts_numbers = False
targets_are_class_numbers = False
