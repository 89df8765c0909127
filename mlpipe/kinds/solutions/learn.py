"""Learn to solve an equation: values for every node, of which each sample's own loss is kept."""

from __future__ import annotations

default_loss = "poisson"
fitting_losses = ("poisson", "burgers")
is_dense = True
predicts_numbers = True
targets_are_class_numbers = False
