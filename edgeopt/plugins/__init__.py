"""What a package of one's own implements and calls: targets, the registry, contracts for tests."""
