"""The agent: an algorithm of Stable-Baselines3, its half of the preference loop, and its state."""
