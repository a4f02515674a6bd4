"""Teachers, which give feedback, and the prompts that ask for it."""
