"""A wrong command line: one line that names the option and what is near to it; and a pipe whose
reader has gone.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_vae.cli import main
from pyro_vae.runs.usage import explain

CASES = {
    "train --model.hiden [3]": "model.hiden: Option 'hiden' is not accepted, got hiden=[3]: did you"
    " mean hidden?",
    "train --epochs abc": "epochs: expected an integer, got abc",
    "train --epochs": "argument --epochs: expected one argument",
    "train --valid 1.5": "valid: expected an integer, got 1.5",
    "train --num-data 3": "unknown option --num_data: did you mean --data?",
    "train --model Vae": "model: no class is called 'Vae', expected one or its path, as"
    " my_file.MyClass: did you mean VAE?",
    "train --model pyro_vae.VA": "model: module 'pyro_vae' has no attribute 'VA', got pyro_vae.VA:"
    " did you mean VAE?",
    "train --guide.hidden nope": "guide.hidden: expected a sequence, got nope",
    "train a b": "got more arguments than the command takes: a b",
    "evidence a --methd Best": "unknown option --methd: did you mean --method?",
    "evidence a --method bst": "method: no class is called 'bst', expected one or its path, as"
    " my_file.MyClass: did you mean Best?",
    "evidence a --num-particles 9": "unknown option --num_particles: did you mean"
    " --method.num_particles?",
    "evidence a --method Annealed --method.num-temps 9": "method.num_temps: Option 'num_temps' is"
    " not accepted: did you mean num_temperatures?",
    "evidence": "the following arguments are required: run, the folder of one",
}


@pytest.mark.parametrize("arguments", CASES)
def test_one_line_says_what_is_wrong_and_what_is_near(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(arguments)) == 2
    assert capsys.readouterr() == ("", f"pyro-vae: error: {CASES[arguments]}\n")


def test_a_command_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    err = capsys.readouterr().err
    assert err.endswith("did you mean train?\n") and err.count("\n") == 1


def test_a_long_message_is_cut() -> None:
    assert len(explain(f"Expected a <class 'int'>. Got value: {'9' * 5000}")) < 500


def test_help_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    assert "--warmup_epochs" in capsys.readouterr().out


def test_a_reader_that_has_gone_is_no_error(tmp_path: Path) -> None:
    arguments = "train --quiet true --epochs 1 --model.hidden [4] --guide.hidden [4]"
    command = [sys.executable, "-m", "pyro_vae.cli"]
    assert main([*arguments.split(), f"--folder={tmp_path}/run"]) == 0
    process = subprocess.Popen(
        [*command, "info", "run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 141
    process.stderr.close()
