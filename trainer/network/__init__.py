"""The network of two towers (paper section 3): its layers, what crosses, how weights begin."""
