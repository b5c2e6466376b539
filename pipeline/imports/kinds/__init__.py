"""The kinds of ready-made features, named as in params.yaml: one module or package each; see contract.py."""
