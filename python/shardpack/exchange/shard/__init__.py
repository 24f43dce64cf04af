"""Shard archives in a store: written with their index, read by member."""
