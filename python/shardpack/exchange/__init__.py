"""Manifests, shard archives and keys: datasets on object storage."""
