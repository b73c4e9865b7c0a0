"""A small gateway in memory that keeps the contract and plays faults on request: what the client is tested against."""
