"""What processes share: the run directory and its files."""
