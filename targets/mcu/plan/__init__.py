"""Which kernel computes a node, in which order, and where its memory lies."""
