"""WHAT happened and what it means."""
