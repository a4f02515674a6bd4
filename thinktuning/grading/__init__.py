"""Answer extraction and verification, the reward, and reflective behaviors."""
