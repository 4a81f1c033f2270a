"""Work that may crash, in a process of its own: answers, ends and delays."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.plugins.worker import Ended, Worker

_SCRIPT = """
import json, os, sys, time
for line in sys.stdin:
    request = json.loads(line)
    if "signal" in request:
        os.kill(os.getpid(), request["signal"])
    if "code" in request:
        sys.exit(request["code"])
    time.sleep(request.get("seconds", 0))
    print("done", request["number"], flush=True)
"""


def test_a_process_that_ends_is_told_of_and_started_anew(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    worker = Worker(script, seconds=20)
    assert [worker.ask({"number": number}) for number in range(2)] == ["done 0\n", "done 1\n"]
    for request, told in (({"signal": 11}, "SIGSEGV"), ({"code": 3}, "exit code 3")):
        with pytest.raises(Ended, match=f"^{told}$"):
            worker.ask(request)
        assert worker.ask({"number": 2}) == "done 2\n"
    worker.close()


def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    with pytest.raises(Ended, match=r"^no answer within 0\.5 s$"):
        Worker(script, seconds=0.5).ask({"number": 0, "seconds": 600})
