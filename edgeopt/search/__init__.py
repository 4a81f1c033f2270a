"""Choosing a number format for each layer by measured error and measured cost: ``--precision auto``."""
