"""A TCP proxy on loopback that cuts connections and counts round trips."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Passes bytes between clients and a server, from the moment it is made.

    cut: how likely an answer is lost: its connection is closed instead of passing it on, when the server has done the work.
    frozen: nothing is passed on any more; nobody is told, as when a network goes.
    rewrite: bytes in answers, and what a client gets instead. reword: bytes in what a client sends, and what the server gets.
    connections: how many were made. round_trips: how often a client has sent something after an answer.
    """

    def __init__(
        self,
        url: str,
        *,
        cut: float = 0.0,
        seed: int = 0,
        rewrite: tuple[bytes, bytes] = (b"", b""),
        reword: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        self.server = urlsplit(url)
        self.cut = cut
        self.frozen = False
        self.rewrite = rewrite
        self.reword = reword
        self.cuts = self.connections = self.round_trips = 0
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        """The server's address, through the proxy."""
        credentials, at, _ = self.server.netloc.rpartition("@")
        netloc = f"{credentials}{at}127.0.0.1:{self._listener.getsockname()[1]}"
        # a MongoDB tells its own address, which a driver would go to, past the proxy
        query = "directConnection=true" if self.server.scheme == "mongodb" else self.server.query
        return urlunsplit(self.server._replace(netloc=netloc, query=query))

    def url_with(self, option: str) -> str:
        """The same, with one more parameter."""
        return f"{self.url}{'&' if '?' in self.url else '?'}{option}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection((self.server.hostname or "", self.server.port or 0))
                except OSError:
                    client.close()
                    continue
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                self._sockets += [client, server]
                _Connection(self, client, server)

    def lost(self) -> bool:
        """Is the next answer to be lost?"""
        lost = self._random.random() < self.cut
        self.cuts += lost
        return lost

    def close(self) -> None:
        self.frozen = False
        self._listener.shutdown(socket.SHUT_RDWR)  # ends the wait for a client, which closing alone does not
        self._accepting.join()
        self._listener.close()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class _Connection:
    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy, self.client, self.server = proxy, client, server
        self.asked = False
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                while self.proxy.frozen:
                    time.sleep(0.01)
                if source is self.client:
                    self.proxy.round_trips += not self.asked
                    self.asked = True
                    data = data.replace(*self.proxy.reword) if self.proxy.reword[0] else data
                else:
                    if self.asked and self.proxy.cut and self.proxy.lost():
                        break
                    self.asked = False
                    data = data.replace(*self.proxy.rewrite) if self.proxy.rewrite[0] else data
                sink.sendall(data)
        for one in (self.client, self.server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
