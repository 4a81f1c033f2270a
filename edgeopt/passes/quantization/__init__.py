"""Passes that change numbers by rounding them: measured."""
