"""The kinds of corpora: one module for each, named as in params.yaml; survey.py says what it has."""
