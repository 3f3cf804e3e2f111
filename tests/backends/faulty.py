"""A TCP proxy on loopback with faults that a test switches on and off, for all connections or for some."""

import socket
import struct
import threading

# Octets from the client after which a request is under way: the preface and settings of HTTP/2 are shorter.
UNDER_WAY = 2_000
# What comes later than this comes too late for a daemon with a timeout of a second.
LATE = 1.5

# Each in the middle of a request, or of its answer.
FAULTS = {
    "reset request": "both sides get a reset in the middle of a request",
    "reset answer": "the backend has the request; its answer is cut off by a reset",
    "half-close request": "the backend is told in the middle of a request that nothing more comes; its answer passes",
    "half-close answer": "the backend has the request; the client is told that no answer comes",
    "delay": "everything comes late, but within the timeout",
    "late": "the answer comes after the timeout",
    "blackhole": "nothing passes, in neither direction; once the fault ends, what was held goes on",
}


class Link:
    """One connection through the proxy."""

    def __init__(self, number, client, server):
        self.number = number
        self.client = client
        self.server = server
        self.sent = 0  # octets of the client since the fault that holds began

    def reset(self):
        """Closes both sides with a reset."""
        for side in (self.client, self.server):
            try:
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # Wakes the other direction's thread; the socket is closed when both have left it.
                side.shutdown(socket.SHUT_RD)
            except OSError:
                pass


class FaultyProxy:
    """Passes connections on to a port of loopback. `only` says for which connections, by number, a fault holds."""

    def __init__(self, port, host="127.0.0.1"):
        self.target = (host, port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = 0
        self.struck = 0  # how often a fault did something
        self.changed = threading.Condition()
        self.fault = None
        self.only = None
        self.epoch = 0
        self.open = True
        self.links = []
        self.threads = []
        self._start(self._accept)

    def begin(self, fault, only=None):
        assert fault in FAULTS
        self._set(fault, only)

    def end(self):
        self._set(None, None)

    def close(self):
        with self.changed:
            self.open = False
            self.changed.notify_all()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for link in self.links:
            link.reset()
        for thread in self.threads:
            thread.join(30)

    def _set(self, fault, only):
        with self.changed:
            self.fault, self.only = fault, only
            self.epoch += 1
            for link in self.links:
                link.sent = 0
            self.changed.notify_all()

    def _holds(self, link):
        """The fault that holds for a connection now."""
        return self.fault if self.only is None or self.only(link.number) else None

    def _wait(self, seconds=None):
        """Waits until the fault changes or the proxy ends, at most so long."""
        with self.changed:
            epoch = self.epoch
            self.changed.wait_for(lambda: not self.open or self.epoch != epoch, seconds)

    def _start(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, timeout=10)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            link = Link(self.connections, client, server)
            self.connections += 1
            self.links.append(link)
            left = [2]
            self._start(self._pump, link, client, server, True, left)
            self._start(self._pump, link, server, client, False, left)

    def _pump(self, link, source, sink, up, left):
        try:
            while data := source.recv(65536):
                if up:
                    link.sent += len(data)
                if not self._strike(link, sink, up, data):
                    continue
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            link.reset()
        with self.changed:
            left[0] -= 1
            last = left[0] == 0
        if last:
            link.client.close()
            link.server.close()

    def _strike(self, link, sink, up, data):
        """Lets the fault happen; whether the data are to be passed on."""
        fault = self._holds(link)
        if fault is None:
            return True
        busy = link.sent > UNDER_WAY
        if fault == "blackhole":
            self.struck += 1
            while self.open and self._holds(link) == "blackhole":
                self._wait()
        elif fault == "delay" or (fault == "late" and not up and busy):
            self.struck += 1
            self._wait(0.2 if fault == "delay" else LATE)
        elif fault == "reset request" and up and busy:
            self.struck += 1
            sink.sendall(data[: len(data) // 2])
            raise ConnectionResetError
        elif fault == "reset answer" and not up and busy:
            self.struck += 1
            raise ConnectionResetError
        elif fault in ("half-close request", "half-close answer") and up == fault.endswith("request") and busy:
            self.struck += 1
            if up:
                sink.sendall(data[: len(data) // 2])
            sink.shutdown(socket.SHUT_WR)
            while source_is_read(link.client if up else link.server):
                pass
            raise ConnectionResetError
        return True


def source_is_read(source):
    """Throws away what comes; false at the end."""
    return bool(source.recv(65536))
