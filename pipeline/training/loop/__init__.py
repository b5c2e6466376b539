"""The training loop with its optimisers, checkpoints and curves."""
