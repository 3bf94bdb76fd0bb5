"""Figures of the search: where it looked and what it found."""
