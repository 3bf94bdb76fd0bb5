"""A training loop of the user's own in the place of ours."""
