"""Taking channels out of trained networks."""
