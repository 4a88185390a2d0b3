"""The reward nets: a reward for each step, from all members of the ensemble."""
