"""Targets of samples: classes, labels, numbers, masks, images."""
