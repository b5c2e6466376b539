"""CmIR."""
