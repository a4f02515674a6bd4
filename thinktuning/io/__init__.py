"""The bottom layer: errors, files, provenance and terminal output."""
