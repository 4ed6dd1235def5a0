"""`make ui`: MLflow's pages of this project's store, on a free port."""

import os
import socket
import sys

from workflow.core.errors import UserError
from workflow.runs.console import run, say
from workflow.runs.identity import main_repository
from workflow.tracking.live import tracking_uri


def main() -> None:
    root = main_repository()
    uri = tracking_uri(root)
    if uri.startswith(("http://", "https://")):
        say(f"MLflow is on {uri}")
        return
    port = str(choose_port(os.environ.get("PORT", "")))
    say(f"MLflow is on http://127.0.0.1:{port} (Ctrl-C ends it)")
    os.chdir(root)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", port]
    os.execv(sys.executable, command)


def choose_port(requested: str, first: int = 5000) -> int:
    """The requested port (a UserError if it is taken, or none), or by default the first free one."""
    if requested and not (requested.isdecimal() and 0 < int(requested) < 1 << 16):
        raise UserError(f"PORT={requested} is not a port: give a number, as in `make ui PORT={first}`")
    for port in [int(requested)] if requested else range(first, 1 << 16):
        with socket.socket() as probe:
            # not by binding: macOS allows that even if a program listens on all addresses
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise UserError(f"port {requested} is taken by another program; choose another one: `make ui PORT=…`")


if __name__ == "__main__":
    run(main)
