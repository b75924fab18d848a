"""A proxy before the API whose first answers are lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@contextmanager
def cut_answers(http_port: int, count: int) -> Iterator[tuple[int, list[bytes]]]:
    """Hand requests on to `http_port` and close the first `count` connections instead of handing
    the answers back; the proxy's own port, and all bodies of answers."""
    answers: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server = HTTPConnection("127.0.0.1", http_port, timeout=10)
            server.request("POST", self.path, body, dict(self.headers))
            answer = server.getresponse().read()
            server.close()
            answers.append(answer)
            if len(answers) <= count:
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_given: object) -> None:
            """Nothing: tests have no use for it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy.server_port, answers
        proxy.shutdown()
