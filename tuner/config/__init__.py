"""What is asked for: keys, workloads, presets, files of the user."""
