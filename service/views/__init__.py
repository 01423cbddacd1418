"""What the API answers, as types that the client shares."""
