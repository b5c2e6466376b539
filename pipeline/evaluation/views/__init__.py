"""What each method shows of itself: `pipeline/views/<method>.py` has `view(run, splits) -> View`."""
