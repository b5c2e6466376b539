"""Early fusion."""
