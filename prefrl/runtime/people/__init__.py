"""What is different where people answer: their pace, their presence, several answers to a pair."""
