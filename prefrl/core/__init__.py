"""The reward-learning core: comparisons in, an ensemble of scores out; knows no modality."""
