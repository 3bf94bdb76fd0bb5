"""Jobs on a Ray cluster: what is sent there, and how one talks to its head."""
