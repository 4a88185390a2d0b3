"""Shared by control and text: the roles, their work, and the run directory between them."""
