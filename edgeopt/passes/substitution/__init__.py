"""Passes that replace layers by others, which are then distilled from the original."""
