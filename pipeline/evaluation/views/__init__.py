"""What each method shows of itself: `<method>.py` here has `view(run, splits) -> View`."""
