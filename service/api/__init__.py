"""The HTTP API. Routes translate; decisions and storage are elsewhere."""
