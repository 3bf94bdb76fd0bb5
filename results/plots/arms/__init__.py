"""Figures that set the arms of a run side by side."""
