"""What is to be learned of samples: classes, labels, numbers, masks, target images."""
