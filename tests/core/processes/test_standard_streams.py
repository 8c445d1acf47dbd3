"""A training survives an output that takes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes.launching import command

PROGRAM = """
import sys
from mdpo_core.processes.standard_streams import open_closed_streams, output_may_fail
open_closed_streams()
with output_may_fail():
    for number in range(3):
        print("x" * 10_000)
        print("y" * 10_000, file=sys.stderr)
with open(sys.argv[1], "w") as file:
    file.write("done")
print("after", flush=True)
"""


WAYS = {
    "lines": "sys.stdout.writelines(['x' * 10_000, '\\n'])",
    "bytes": "sys.stdout.buffer.write(b'x' * 10_000); sys.stdout.buffer.flush()",
    "byte lines": "sys.stdout.buffer.writelines([b'x' * 10_000, b'\\n'])",
    "flushed": "sys.stdout.write('x'); sys.stdout.reconfigure(line_buffering=True)",
}
WRITES = """
import sys
from mdpo_core.processes.standard_streams import output_may_fail
errors = sys.stderr
with output_may_fail():
    {}
print("done", file=errors, flush=True)
"""


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_write_is_forgiven(way: str) -> None:
    words = [sys.executable, "-c", WRITES.format(WAYS[way])]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    told = "standard output takes nothing any more ([Errno 28] No space left on device); the run goes on\n"
    assert (done.returncode, done.stderr) == (0, f"{told}done\n")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&- <&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1"])
def test_a_program_goes_on_without_its_output(redirection: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    words = f"{sys.executable} {tmp_path / 'program.py'} {tmp_path / 'file'} {redirection}"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").read_text() == "done"
    told = done.stderr.count("standard output takes nothing any more (")
    assert told == (redirection == ">/dev/full")


@pytest.mark.long
@pytest.mark.parametrize("streams", ["stdout", "both"])
def test_a_run_whose_reader_has_ended_trains_to_the_end(streams: str, small: list[str], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    errors = writer if streams == "both" else subprocess.PIPE
    done = subprocess.run(command(small), stdout=writer, stderr=errors, text=True)
    os.close(writer)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "final").is_dir()
