"""Feature stores -> one training set: joined, shortened, scaled, split by protocol."""
