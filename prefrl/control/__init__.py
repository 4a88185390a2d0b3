"""Agents that act: Gymnasium and Stable-Baselines3, from rollout to relabelled buffer."""
