"""`make ui`: MLflow's pages of this project's store, from any folder, on a port that is free."""

from __future__ import annotations

import os
import socket
import sys

from pipeline.console import UserError, run, say
from pipeline.identity import main_repository
from pipeline.tracking import tracking_uri

FIRST = 5000
TRIED = 100


def main() -> None:
    root = main_repository()
    uri = tracking_uri(root)
    if uri.startswith(("http://", "https://")):
        say(f"MLflow is on {uri}")
        return
    number = port(os.environ.get("PORT", ""))
    say(f"MLflow is on http://127.0.0.1:{number} (Ctrl-C ends it)")
    os.chdir(root)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(number)]
    os.execv(sys.executable, command)


def port(wanted: str) -> int:
    """The port that is asked for, or else the first free one.

    Raises:
        UserError: it is taken, or no number of a port.
    """
    if wanted and not (wanted.isdecimal() and 0 < int(wanted) < 1 << 16):
        raise UserError(f"PORT={wanted} is no port: give a number, as in `make ui PORT={FIRST}`")
    for number in [int(wanted)] if wanted else range(FIRST, FIRST + TRIED):
        with socket.socket() as tried:
            # not by binding, which macOS allows beside a program that listens on all addresses
            if tried.connect_ex(("127.0.0.1", number)):
                return number
    which = f"port {wanted} is" if wanted else f"the ports {FIRST} to {FIRST + TRIED - 1} are"
    raise UserError(f"{which} taken: another program listens there; `make ui PORT=…` takes another")


if __name__ == "__main__":
    run(main)
