"""Constant."""
