"""What every other package stands on; each thing is said once."""
