"""The command line in processes that can be killed: one process imports everything once, what a
training imports late included, and forks a child per command. A command `call MODULE FUNCTION ...`
is one of Python's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

SERVER = """
import gc, importlib, json, os, sys
import torch
import docstring_parser, sklearn.datasets, torch._dynamo, torch.utils.tensorboard
from pyro_vae.cli import _module, _parse, main
from pyro_vae.data import load
torch.set_num_threads(1)
for name in ("train", "resume", "info"):
    _module(name)
_parse(["train"])  # what the parser of settings reads of docstrings and signatures is kept
load("digits")
gc.freeze()  # what is there stays shared with the children
print("ready", flush=True)
while line := sys.stdin.readline():
    arguments, told = json.loads(line)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            if arguments[0] == "call":
                getattr(importlib.import_module(arguments[1]), arguments[2])(*arguments[3:])
                code = 0
            else:
                code = main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 99
        os._exit(code)
    print(child, flush=True)
    sys.stdin.readline()  # until then it is not waited for, and its number is nobody else's
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Forks:
    """Runs commands in children; use as a context."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Forks:
        assert self._read() == "ready"
        return self

    def __exit__(self, *error: object) -> None:
        self.server.kill()
        self.server.communicate()

    def _read(self) -> str:
        assert self.server.stdout is not None
        return self.server.stdout.readline().strip()

    @property
    def told(self) -> Path:
        """Where the last command's stderr is: one for each, since the helpers of a killed one may
        still write.
        """
        return self.folder / f"stderr{self.number}"

    def run(self, arguments: str, kill_after: float | threading.Event | None = None) -> int:
        """The exit code of a command, minus 9 where it was killed: after so many seconds, or once
        an event is set.
        """
        assert self.server.stdin is not None
        self.number += 1
        self.server.stdin.write(json.dumps([arguments.split(), str(self.told)]) + "\n")
        self.server.stdin.flush()
        child = int(self._read())
        if kill_after is not None:
            kill_after.wait(300) if isinstance(kill_after, threading.Event) else time.sleep(
                kill_after
            )
            os.kill(child, signal.SIGKILL)
        self.server.stdin.write("\n")
        self.server.stdin.flush()
        return os.waitstatus_to_exitcode(int(self._read()))

    @property
    def error(self) -> str:
        """What the last command said on stderr."""
        return self.told.read_text()
