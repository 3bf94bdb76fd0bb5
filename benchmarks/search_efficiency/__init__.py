"""How many samples does each search method spend to find a good schedule? See replay.py."""
