"""Registers MinAtar's games, which Gymnasium does not do by itself: with_minatar:MinAtar/NAME."""

from minatar.gym import register_envs

register_envs()
