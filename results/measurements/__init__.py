"""What measurements found: their numbers and words."""
