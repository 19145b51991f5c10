"""TLS in front of a server that has none."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import trustme


class TLSProxy:
    """Takes TLS connections on loopback and passes what is in them on to a server.

    authority: the file of the certificate that a client must trust.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.server = urlsplit(url)
        authority = trustme.CA()
        self.authority = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.set_alpn_protocols(["postgresql"])  # which libpq insists on, and others do not ask for
        authority.issue_cert("127.0.0.1").configure_cert(self._context)
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def url(self, scheme: str, query: str) -> str:
        """The server's address through TLS."""
        credentials, at, _ = self.server.netloc.rpartition("@")
        place = f"{credentials}{at}127.0.0.1:{self._listener.getsockname()[1]}"
        return urlunsplit((scheme, place, self.server.path, query, ""))

    def _accept(self) -> None:
        while not self._over.is_set():
            if select.select([self._listener], [], [], 0.05)[0]:
                self._threads.append(threading.Thread(target=self._connected, args=self._listener.accept()))
                self._threads[-1].start()

    def _connected(self, raw: socket.socket, _: object) -> None:
        address = self.server.hostname or "", self.server.port or 0
        with (
            suppress(OSError),
            self._context.wrap_socket(raw, server_side=True) as client,
            socket.create_connection(address) as server,
        ):
            while not self._over.is_set():
                for source in [client] if client.pending() else select.select([client, server], [], [], 0.05)[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    (server if source is client else client).sendall(data)

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()
