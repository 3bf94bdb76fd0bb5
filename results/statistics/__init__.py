"""Pure statistics on numbers: no records, no files."""
