"""HOW one trial is trained."""
