#!/usr/bin/env python3
"""serve.py PORT - one replica of a small inference service

  GET /health           200 "ok" once it can answer
  GET /infer?x=0.3&y=-0.4   {"replica":R,"spiral":0|1,"score":S,"served":N}

The model is exact and needs no checkpoint: the arm of the two spirals (train.py) that lies nearer to the
point. SIGTERM lets running requests end, then exits 0. Prints one line per start. The port may also come
from $PORT; 0 lets the kernel choose.
"""
import json
import math
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ARM_STEPS = 200


def distance(x, y, label):
    """From (x, y) to arm `label` of the spirals."""
    nearest = math.inf
    for i in range(ARM_STEPS + 1):
        t = i / ARM_STEPS
        angle, radius = 4.5 * t + math.pi * label, 0.15 + 0.85 * t
        nearest = min(nearest, math.hypot(x - radius * math.cos(angle), y - radius * math.sin(angle)))
    return nearest


def infer(x, y):
    """(spiral, score): the nearer arm, and by how much, 0.5 to 1."""
    d = [distance(x, y, 0), distance(x, y, 1)]
    spiral = 0 if d[0] <= d[1] else 1
    total = d[0] + d[1]
    return spiral, round(1 - d[spiral] / total, 6) if total else 0.5


class Replica(BaseHTTPRequestHandler):
    served = 0
    lock = threading.Lock()
    name = os.environ.get("SLUIS_RANK", "0")

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/health":
            return self.answer(200, "ok\n", "text/plain")
        if url.path != "/infer":
            return self.answer(404, "try /health or /infer?x=0.3&y=-0.4\n", "text/plain")
        query = parse_qs(url.query)
        try:
            x, y = float(query["x"][0]), float(query["y"][0])
            if not (math.isfinite(x) and math.isfinite(y)):
                raise ValueError
        except (KeyError, ValueError):
            return self.answer(400, "x and y must be numbers\n", "text/plain")
        spiral, score = infer(x, y)
        with Replica.lock:
            Replica.served += 1
            served = Replica.served
        body = json.dumps({"replica": self.name, "spiral": spiral, "score": score, "served": served}) + "\n"
        return self.answer(200, body, "application/json")

    def answer(self, status, text, kind):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Requests are counted, not printed."""


class Server(ThreadingHTTPServer):
    daemon_threads = False      # server_close() waits for running requests


def main():
    text = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("PORT", "")
    if not text.isdigit() or int(text) > 65535:
        print("usage: serve.py PORT", file=sys.stderr)
        return 2
    server = Server((os.environ.get("SERVE_ADDRESS", "127.0.0.1"), int(text)), Replica)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"serving on port {server.server_address[1]}, replica {Replica.name}, pid {os.getpid()}", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
