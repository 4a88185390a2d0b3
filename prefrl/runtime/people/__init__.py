"""Training with people who answer: their pace, their presence, several answers to a pair."""
