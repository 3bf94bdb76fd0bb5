"""WHO decides, runs and records."""
