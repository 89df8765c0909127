"""Solutions of an equation, which no target tells."""
