"""Evaluation through lm-eval: its models, and the tasks of this package."""
