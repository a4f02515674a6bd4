"""The study's report: one self-contained HTML page, and the data of its rollout viewer."""
