"""Runs that are not on this machine: in a bucket, written from a folder here, read by a copy."""
