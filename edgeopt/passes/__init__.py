"""Substitutions, one file each; a file's docstring is its theorem."""
