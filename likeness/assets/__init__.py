"""Files that ship with the client."""
