"""Writes docs/api.md from the contracts in protos/ and the examples in docs/examples/api: `python -m docs.api`."""
