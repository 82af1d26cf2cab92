"""How a command line may go on: commands, options, values."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CASES = {
    "pyro-vae re": ["resume", "reconstruct", "report"],
    "pyro-vae --v": ["--version "],
    "pyro-vae evidence a --num": ["--num_data "],
    "pyro-vae compare a --split t": ["train", "test"],
    "pyro-vae compare a --split 'te": ["test"],
    "pyro-vae train --quiet ": ["true", "false"],
    "pyro-vae info ru": ["run/"],
    "python -m pyro_vae.cli info ru": ["run/"],
}

# argcomplete ends the process, so that a child asks for each line
ASK = """
import json, os, sys
from pyro_vae.cli import COMMANDS, _module, main
for name in ("evidence", "compare", "train", "info"):
    _module(name)
for number, line in enumerate(json.loads(sys.argv[1])):
    child = os.fork()
    if child == 0:
        os.environ |= {
            "_ARGCOMPLETE": "1" if line.startswith("pyro-vae") else "3",
            "_ARGCOMPLETE_IFS": "|",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(number),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "COMP_TYPE": "9",
        }
        main([])
        os._exit(99)
    assert os.waitpid(child, 0)[1] == 0, line
"""


def test_how_a_line_goes_on(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    lines = json.dumps(list(CASES))
    subprocess.run([sys.executable, "-c", ASK, lines], cwd=tmp_path, check=True)

    for number, line in enumerate(CASES):
        assert (tmp_path / str(number)).read_text().split("|") == CASES[line], line
