"""What is said in a clip, and when: labels, sidecars, recognition, alignment."""
