"""vLLM's real server on a CPU, compared with transformers (`make test-vllm`)."""

import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import torch
from extras import needs
from transformers import AutoModelForCausalLM
from vllm_on_cpu import prepare

from thinktuning.teachers.local import LocalTeacher
from thinktuning.teachers.openai import OpenAITeacher

pytestmark = [pytest.mark.slow, needs("vllm")]


@pytest.fixture(scope="module")
def engine():
    prepare()


@pytest.fixture(scope="module")
def vllm_server(lively, engine, tmp_path_factory):
    """Start `vllm serve` on a free port; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{(port := free.getsockname()[1])}"
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(lively)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tutor"]
    command += ["--dtype", "float32", "--enforce-eager", "--max-model-len", "512"]
    command += ["--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 600
        while not is_up(f"{url}/health"):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(1)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def is_up(url):
    """Tell whether a server responds."""
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def test_a_server_teaches_as_transformers_does(vllm_server, lively):
    chats = [[{"role": "user", "content": f"What is {i}+{'1' * i}?"}] for i in range(8)]
    budget = 40
    asked = OpenAITeacher(f"{vllm_server}/v1", "tutor", max_completion_length=budget)
    local = LocalTeacher.from_pretrained(lively, max_completion_length=budget)
    replies, expected = asked.generate(chats), local.generate(chats)
    assert [text and text.rstrip("\ufffd") for text in replies] == [
        text and text.rstrip("\ufffd") for text in expected
    ]
    assert any(replies) and None in replies  # some end by themselves, some exceed the budget
    assert asked.num_generated_tokens == local.num_generated_tokens


def test_a_server_samples_for_trls_client(vllm_server, lively):
    """One half of server mode; the other, sending weights, needs NCCL."""
    from trl.generation.vllm_client import VLLMClient

    prompts = [[10, 20, 30], [40, 50]]
    found = VLLMClient(base_url=vllm_server).generate(prompts, n=2, max_tokens=12, logprobs=0)
    model = AutoModelForCausalLM.from_pretrained(lively, dtype="float32")
    each = [prompt for prompt in prompts for _ in range(2)]
    for prompt, ids, sampled in zip(each, found["completion_ids"], found["logprobs"], strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])
        torch.testing.assert_close(torch.tensor(sampled), expected, atol=1e-4, rtol=0)
