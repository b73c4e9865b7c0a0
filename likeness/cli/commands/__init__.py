"""One module a command group. Each has `add(commands)`, which declares its arguments and what runs them."""
