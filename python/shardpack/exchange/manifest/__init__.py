"""Manifests: JSON lines that name objects, shards and other manifests."""
