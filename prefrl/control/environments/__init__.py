"""The layers between an environment and the agent: they record, hide, repair and rewind."""
