"""PostgreSQL: what the gateway must not forget. One repository function is one transaction."""
