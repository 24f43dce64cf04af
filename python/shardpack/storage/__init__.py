"""Where bytes live: one set of calls over S3, local files and memory."""
