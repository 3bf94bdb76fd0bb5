"""What exactly will be done, checked before anything starts."""
