"""Models: the toy model trained here, and those from a directory, the hub or a package."""
