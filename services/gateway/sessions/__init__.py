"""What callers do with sessions, without a transport: validation, effects, watching."""
