"""Programs: what they are made of, how they are read and rewritten, and the contract of a pass."""
