"""Several models made into one: members, weights and mixtures, from predictions alone."""
