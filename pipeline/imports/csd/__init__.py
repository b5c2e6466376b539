"""The CMU SDK's computational sequences."""
