"""What control and text do alike: the roles and their work, and the run directory between them."""
