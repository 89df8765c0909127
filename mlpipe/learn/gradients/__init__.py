"""Gradients: accumulated over batches, in parts of a batch, and waited for by several processes."""
