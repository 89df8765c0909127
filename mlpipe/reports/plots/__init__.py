"""The report's plots: one drawing function for each, data in, figure out."""
