"""The report's plots: one drawing function for each, from data to a figure."""
