"""Training sets: how they are made (assembly) and how they are read."""
