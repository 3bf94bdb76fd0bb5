"""Which images are trained on, and how they reach the device."""
