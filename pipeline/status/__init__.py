"""How the project stands: what makes a stage stale, which runs there are, dvc.lock of two branches."""
