"""Language models: the same reward learning, for responses to prompts."""
