"""Operators one by one against torch eager, on every target that runs here: equal, or refused in one sentence."""
