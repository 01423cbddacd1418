"""The control plane: API, store, reconciler, metrics and command line. Never imports torch."""
