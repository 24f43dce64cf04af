"""What keeps a store in order: check it, remove from it, collect its garbage."""
