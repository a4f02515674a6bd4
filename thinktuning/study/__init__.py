"""The whole study, and the jobs that it resolves into."""
