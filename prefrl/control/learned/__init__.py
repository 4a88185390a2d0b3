"""Learned rewards and their answers, outside of the run that learned them."""
