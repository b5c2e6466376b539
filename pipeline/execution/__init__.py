"""Items to worker processes, a Ray cluster or a GPU, and results back."""
