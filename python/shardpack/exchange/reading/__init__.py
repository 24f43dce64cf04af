"""The objects of a manifest and the members of its shards, read ahead in bounded memory."""
