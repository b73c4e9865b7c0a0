"""Who may do what: keys, tenants, limits, audit."""
