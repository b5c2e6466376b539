"""What a method shows of itself: `<method>.py` has `view(run, splits) -> View`; without one, fused.py has."""
