"""What can be read off a Program without changing it."""
