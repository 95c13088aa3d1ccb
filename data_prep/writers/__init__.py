"""Writers of prepared samples, one file a format."""
