"""An AI judge: a model as labeller, which is asked which of two items is better."""
