"""How trained runs hold up when what they read is spoilt: corruptions, sweeps, their tables and pictures."""
