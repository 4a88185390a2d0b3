"""Learned rewards and answers, used outside of the run that they are from."""
