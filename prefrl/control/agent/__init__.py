"""The agent: Stable-Baselines3's algorithm, its half of the preference loop, its state."""
