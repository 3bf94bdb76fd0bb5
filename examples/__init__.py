"""Trainings that are not ours: see docs/any_training.md."""
