"""params.yaml as typed objects, its checks and its edits."""
