"""What is written: schemas, segments, the lock and the store."""
