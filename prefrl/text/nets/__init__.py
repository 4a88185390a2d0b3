"""Language models and what is built on them: sampling, log-probabilities, policy and reward."""
