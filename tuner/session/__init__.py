"""Where a plan runs: Ray, signals, resume, the end."""
