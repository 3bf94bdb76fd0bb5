"""How results leave the run folder: into code, tables and other tools."""
