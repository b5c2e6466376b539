"""SLaD."""
