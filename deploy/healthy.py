"""A container's health: does its server greet? `healthy.py web|pop3|smtp`; the exit code is the answer."""

import socket
import sys

#: Server -> port inside the container, what is said to it, how its answer begins.
SERVERS = {
    "web": (
        8000,
        b"GET /admin/login/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        (b"HTTP/1.1 2", b"HTTP/1.1 3", b"HTTP/1.1 4"),
    ),
    "pop3": (1110, b"QUIT\r\n", (b"+OK",)),
    "smtp": (1025, b"QUIT\r\n", (b"220",)),
}


def main(name: str) -> int:
    """0 where the server answers as it should."""
    port, said, beginnings = SERVERS[name]
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(said)
            answer = connection.recv(512)
    except OSError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    return 0 if answer.startswith(beginnings) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
