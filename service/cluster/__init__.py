"""The edge to Ray: its REST API, and a local Ray of our own."""
