"""Losses by name, a file for each family: outputs and targets to a mean.

A loss is called with outputs (n, outputs), targets and, where the task weighs its images, weights (n,). Targets are class
numbers (n,) or class probabilities (n, classes) for classification; 0, 1 or something between (n, labels) for labels; and
numbers (n, outputs) for regression, standardised by the program. NaN targets are unknown and left out of the mean. With
class weights c and weights of images w the mean is sum(w c l) / sum(w c), as in torch.nn.CrossEntropyLoss.

A loss of masks is called with logits (n, classes, height, width), a softmax over classes being meant, and class numbers
(n, height, width), int64, `mlpipe.data.task.IGNORED` where a pixel counts nowhere; there may be one spatial axis, or three.
Two classes have two logits.
"""
