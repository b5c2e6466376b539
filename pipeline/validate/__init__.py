"""A corpus or a feature file examined before anything is learnt from it."""
