"""One step of training (paper section 5), and all that the next one depends on."""
