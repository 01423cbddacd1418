"""What is drawn of a network as it trains, by a process outside the training step."""
