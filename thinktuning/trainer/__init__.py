"""TRL's GRPO trainer with the hooks of an algorithm, and its arguments."""
