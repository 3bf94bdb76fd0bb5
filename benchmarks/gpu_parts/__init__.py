"""The parts of benchmarks.gpu; each runs in a process of its own."""
