"""A learned reward over HTTP, for trainers and simulators elsewhere."""
