"""Late fusion."""
