"""What was learned, outside of the run that learned it: rewards, and the answers behind them."""
