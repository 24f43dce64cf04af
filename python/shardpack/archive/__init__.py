"""Shard archives: tar files that are cut into chunks, so that one member can be read alone."""
