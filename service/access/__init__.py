"""Who may do what: tokens, roles, owners, quotas, limits. Decisions; SQL and HTTP are elsewhere."""
