"""/ui/jobs/{id}: one job, as it trains."""
