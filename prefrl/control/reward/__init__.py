"""The reward nets, which give a reward for each step from all members of the ensemble."""
