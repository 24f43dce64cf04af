"""The calls of the store classes, a file for each kind of thing they are about."""
