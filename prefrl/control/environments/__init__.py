"""What stands between an environment and the agent: records, hides, mends and rewinds."""
