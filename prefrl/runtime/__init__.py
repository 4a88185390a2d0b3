"""What control and text share: the roles, their work, and the run directory between them."""
