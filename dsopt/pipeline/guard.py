"""Runs a command that ends with the process that asked for it: `python guard.py COMMAND ...`, with a pipe as standard input.

When the pipe closes, because that process closed it or is gone, the command and all that it started get SIGTERM, and what is left
of them SIGKILL. A file by itself, which imports nothing of this package: it starts in 20 ms.
"""

import os
import signal
import subprocess
import sys
import threading
import time

GRACE = 5.0  # seconds from SIGTERM to SIGKILL: launchers such as torchrun end their own processes meanwhile


def _end_with_standard_input() -> None:
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    """The exit status of the command, as a shell gives it: 128 and the signal that killed it."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # not SIG_IGN, which the command would inherit
    try:
        child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"{sys.argv[1]}: cannot be started: {error.strerror}", file=sys.stderr)
        return 127
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
