"""Whether a request can become a job, and what is done before it does."""
