"""A model as labeller: it is asked which of two items is better, like anybody else."""
