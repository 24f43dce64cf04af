"""Objects, members and whole data sets as local files."""
