"""What `import pipeline as msa` offers: features, training sets and runs as Python objects."""
