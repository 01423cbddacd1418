"""Files of run directories, as the API gives them away: confined, by ranges, as they grow."""
