"""Real models that several tests and benchmarks share."""
