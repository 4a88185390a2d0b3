"""What processes share: the run directory and all that lies in it."""
