"""Figures of the papers and of their measurements."""
