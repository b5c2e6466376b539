"""Items to worker processes, to Ray or through a model on a GPU, and results back."""
