"""The reward-learning core: from comparisons to an ensemble of scores, for any kind of item."""
