"""A real local HTTP server with OpenAI's chat completions API."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Answers requests with `answer(body, number of the request)`.

    `answer` returns (status, payload); a payload of None stands for a reply of "ok", and bytes are
    sent as they are.
    """

    def __init__(self, answer):
        self.answer = answer
        self.requests = []
        self.busy = self.most_busy = 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.requests.append((self.headers["Authorization"], body))
                    number = len(outer.requests)
                    outer.busy += 1
                    outer.most_busy = max(outer.most_busy, outer.busy)
                status, payload = outer.answer(body, number)
                with lock:
                    outer.busy -= 1
                data = payload
                if not isinstance(payload, bytes):
                    data = json.dumps(reply("ok") if payload is None else payload).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Retry-After", "0.01")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


def reply(text, tokens=3, finish_reason="stop"):
    """Return a chat completion as a server sends it."""
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "tutor",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1},
    }


def error(message):
    """Return an error as a server sends it."""
    return {"error": {"message": message, "type": "x", "code": None, "param": None}}


def solve(body, _=None):
    """Reply with feedback that ends in the right answer to `What is N+1?`."""
    number = int(re.search(r"What is (\d+)\+1", body["messages"][-1]["content"])[1])
    return 200, reply(
        "<opinion>incorrect</opinion><reason>Wait.</reason>"
        f"<phrase>So \\boxed{{{number + 1}}}</phrase>"
    )
