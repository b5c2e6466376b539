"""Claims of methods, measured on corpora whose factors are planted."""
