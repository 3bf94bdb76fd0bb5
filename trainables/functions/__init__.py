"""Known functions, minimized with explicit smoothing or by other solvers."""
