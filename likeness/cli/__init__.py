"""The `likeness` command. One file a command group in `commands/`; how it looks is in the modules beside it."""
