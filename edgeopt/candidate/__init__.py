"""From a Program and options to one candidate that is compiled, run, measured and judged."""
