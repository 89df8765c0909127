"""Ensembles: members, weights and mixtures, from predictions alone."""
