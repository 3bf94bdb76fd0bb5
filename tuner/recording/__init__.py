"""How what the workers report becomes durable."""
