"""The command line: one module per stage of the workflow, and the tools for users."""
