"""How an attempt is run: on Ray or here, a replica at a time, training or evaluating."""
