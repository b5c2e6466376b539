"""Audio only."""
