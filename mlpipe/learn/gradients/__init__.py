"""Gradients: accumulated over batches, computed in parts of a batch, and waiting times for those of other processes."""
