"""The built-in targets, one folder each; the core finds them by entry point only."""
