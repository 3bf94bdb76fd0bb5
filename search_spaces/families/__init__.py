"""Decay curves, one a file."""
