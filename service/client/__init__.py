"""The typed Python client of the REST API: `from service.client.client import Client`."""
