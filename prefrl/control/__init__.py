"""Agents that act: Gymnasium environments and Stable-Baselines3, from rollout to relabelled buffer."""
