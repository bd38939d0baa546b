"""Hands a job to the job server, and ends as the job ended.

It runs before each script of a rule (`job_server.start_job_server`), as a program of its own that
imports little: `python -I -S job_client.py NAME PYTHON SCRIPT`. Without a server it becomes
`PYTHON SCRIPT`, which does the same and takes longer.
"""

import json
import os
import signal
import socket
import struct
import sys

STARTED, REFUSED = b"+", b"-"
_NUMBER_BYTES = 4
_PROCESS_USER_GROUP = "3i"


def socket_address(name: str) -> str:
    """Address of a socket on Linux that is no file: a killed server leaves nothing behind."""
    return f"\0{name}"


def is_same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end has the user of this one: the address has no owner."""
    size = struct.calcsize(_PROCESS_USER_GROUP)
    values = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, user, _ = struct.unpack(_PROCESS_USER_GROUP, values)
    return bool(user == os.geteuid())


def send_request(connection: socket.socket, script: str) -> None:
    """Ask for a job in this folder and environment, with the files 0, 1 and 2 of this process."""
    request = {"script": script, "folder": os.getcwd(), "environment": dict(os.environ)}
    body = json.dumps(request).encode()
    socket.send_fds(connection, [len(body).to_bytes(_NUMBER_BYTES, "big")], [0, 1, 2])
    connection.sendall(body)


def receive_request(connection: socket.socket) -> tuple[dict[str, object], list[int]]:
    """The request of a client, and its files.

    Raises
    ------
    EOFError
        The client ended.
    """
    header, files, *_ = socket.recv_fds(connection, _NUMBER_BYTES, 3)
    left, body = int.from_bytes(header, "big"), b""
    while left:
        part = connection.recv(left)
        if not part:
            raise EOFError("the client ended before its request was complete")
        body, left = body + part, left - len(part)
    request: dict[str, object] = json.loads(body) if body else {}
    return request, files


def main() -> None:
    """Run one job; the exit status is that of the job, 128 + N if signal N ended it."""
    name, *command = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(socket_address(name))
            answer = REFUSED
            if is_same_user(connection):
                send_request(connection, os.path.abspath(command[-1]))
                answer = connection.recv(1)
        except OSError:
            answer = REFUSED
        if answer == STARTED:
            # Ctrl-C goes to the job too: this process waits until the job has ended.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            status = connection.recv(1)
            sys.exit(status[0] if status else 1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
