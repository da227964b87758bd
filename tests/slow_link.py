"""A slow network on one machine: everything that a server answers passes at so many bytes a second, over all connections."""

import contextlib
import socket
import threading
import time

PIECE = 16 * 1024


class SlowLink:
    """Listens on a port of its own and passes on to another; `close` ends it.

    Args:
        port: of the server, on this machine.
        rate: bytes a second of the answers; requests pass at once.

    Attributes:
        passed: bytes of the answers so far.
    """

    def __init__(self, port: int, rate: float) -> None:
        self.target, self.rate, self.passed = port, rate, 0
        self._free, self._lock = time.monotonic(), threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, slowly: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                if slowly:
                    self._wait(len(piece))
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _wait(self, count: int) -> None:
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now) + count / self.rate
            self.passed += count
            pause = self._free - now
        time.sleep(pause)
