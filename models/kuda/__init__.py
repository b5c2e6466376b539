"""KuDA."""
