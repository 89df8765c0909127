"""Losses by name, one file for each family.

A loss is called with outputs (n, outputs), targets and, where images have weights, weights (n,), and returns their mean.
Targets are class numbers (n,) or class probabilities (n, classes) for classification; values from 0 to 1 (n, labels) for
labels; and standardised numbers (n, outputs) for regression. NaN targets are unknown and left out of the mean. With class
weights c and image weights w the mean is sum(w c l) / sum(w c), as in torch.nn.CrossEntropyLoss.

A loss of masks is called with the logits of a softmax, (n, classes, height, width), and class numbers (n, height, width),
int64, with `mlpipe.data.task.IGNORED` for pixels that do not count. There may also be one spatial axis, or three. Two
classes have two logits.
"""
