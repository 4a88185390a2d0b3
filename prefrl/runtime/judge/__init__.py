"""An AI judge: a model as labeller, which says which of two items is better."""
