"""Question sources, and decontamination of the training questions."""
