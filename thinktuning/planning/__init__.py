"""What a study needs, and whether this machine has it."""
