"""Number formats and schemes: how real values become few bits, and what a target wants of them."""
