"""What every fake shares: a socket, a memory of requests, and errors in the shape of its kind."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Refused(Exception):
    """The request breaks a rule of this server."""

    def __init__(self, status, message, code=None):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass
class Request:
    path: str
    headers: dict
    body: dict
    refused: str | None = None


@dataclass
class Fake:
    """A server in a thread. `url` is what a configuration names."""

    strict: bool = True
    requests: list = field(default_factory=list)

    def __enter__(self):
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                fake._serve(self, {})

            def do_POST(self):
                length = int(self.headers.get("content-length") or 0)
                fake._serve(self, json.loads(self.rfile.read(length) or b"{}"))

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler, body):
        path = handler.path.split("?")[0].removeprefix("/v1")
        request = Request(path, {name.lower(): value for name, value in handler.headers.items()}, body)
        self.requests.append(request)
        try:
            answer = self.answer(request)
        except Refused as refused:
            request.refused = refused.message
            return reply_json(handler, refused.status, self.error(refused))
        if isinstance(answer, dict):
            return reply_json(handler, 200, answer)
        reply_events(handler, answer)

    @property
    def last(self):
        """The newest request for an answer."""
        return [request for request in self.requests if "messages" in request.body][-1]

    def check(self, holds, message, status=400, code=None):
        """A rule that only a strict server insists on."""
        if self.strict and not holds:
            raise Refused(status, message, code)

    def answer(self, request):
        """A dict for an answer in one piece, or an iterator of server-sent events."""
        raise NotImplementedError

    def error(self, refused):
        raise NotImplementedError


def reply_json(handler, status, answer):
    data = json.dumps(answer, ensure_ascii=False).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def reply_events(handler, events):
    """One event a chunk, so that a client sees them apart."""
    handler.send_response(200)
    handler.send_header("content-type", "text/event-stream")
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    try:
        for event in events:
            data = event.encode()
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        handler.wfile.write(b"0\r\n\r\n")
    except OSError:
        handler.close_connection = True
