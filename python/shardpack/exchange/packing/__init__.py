"""A folder, or a stream of items, into shards and a manifest."""
