"""What a method shows of itself: `<method>.py` here has `view(run, splits) -> View`; if there is none, fused.py."""
