"""Independent truths: what the code computes, written a second time from the definitions."""
