"""Images that lie encoded in files: found, decoded once or for every batch, kept."""
