"""Check that the servers that a study asks respond."""

from collections.abc import Iterator
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import urlopen

from thinktuning.planning.doctor import Finding, train_jobs
from thinktuning.study.study import Study


def servers(study: Study) -> Iterator[Finding]:
    """Check that the servers of teachers, judge and rollouts respond."""
    endpoints = {}
    for job in train_jobs(study):
        if job.algorithm.uses_teacher and job.teacher.openai:
            endpoints[f"{job.teacher.openai.base_url}/models"] = f"teacher of {job.method}"
        if job.training.vllm and job.training.vllm.server_base_url:
            endpoints[f"{job.training.vllm.server_base_url}/health"] = f"rollouts of {job.method}"
    if study.judge and study.judge.openai:
        endpoints[f"{study.judge.openai.base_url}/models"] = "judge"
    for url, name in endpoints.items():
        try:
            urlopen(url, timeout=5).close()
        except HTTPError as error:  # it is up, but e.g. wants a key
            yield Finding(name, "warning", f"{url}: {error}", "check OPENAI_API_KEY and the path")
        except (OSError, HTTPException, ValueError) as error:  # down, not HTTP, or a bad address
            fix = "start it before training (docs/gpu.md), or correct its base_url"
            yield Finding(name, "warning", f"{url}: {error}", fix)
        else:
            yield Finding(name, "ok", f"{url} responds")
