"""KHaR."""
