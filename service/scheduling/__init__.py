"""Who may start: pure decisions over the queue and the cluster."""
