"""Kernels that are forked from a warm process: as any kernel, but for what is imported already."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tangentlm.studies.warm_kernels import _but_for_heartbeats, warm_kernels

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")

CLIENT = """
import json, sys, nbclient, nbformat
cells = [nbformat.v4.new_code_cell(source) for source in sys.argv[2:]]
notebook = nbformat.v4.new_notebook(cells=cells)
where = {"metadata": {"path": sys.argv[1]}}
nbclient.NotebookClient(notebook, kernel_name="python3", resources=where).execute()
print(json.dumps([cell.outputs[0]["text"] for cell in notebook.cells]))
"""
FACTS = """
import json, os, sys
warm = "torch" in sys.modules
import random, tangentlm, time, numpy, torch
facts = {"warm": warm, "folder": os.getcwd(), "threads": torch.get_num_threads(), "path": sys.path,
         "mine": os.environ.get("MINE"), "pid": os.getpid(), "name": __name__,
         "seconds": time.perf_counter() - tangentlm.STARTED,
         "draws": [random.random(), numpy.random.rand(), torch.rand(1).item()]}
print(json.dumps(facts))
"""


def command(folder: Path, *cells: str) -> list[str]:
    return [sys.executable, "-c", CLIENT, str(folder), *cells]


def facts(folder: Path, **variables: str) -> dict:
    done = subprocess.run(
        command(folder, FACTS), env=os.environ | variables, capture_output=True, check=True
    )
    return json.loads(json.loads(done.stdout)[0])


def ends(pid: int, seconds: float = 30) -> bool:
    """Whether a process ends by itself."""
    for _ in range(int(10 * seconds)):
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.1)
    return False


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(scope="module")
def nursery():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        before = set(children_of(os.getpid()))
        with warm_kernels():
            (pid,) = set(children_of(os.getpid())) - before
            yield pid
    assert ends(pid), "the nursery goes on after it was left"


def test_a_warm_kernel_is_one_of_its_own(nursery, tmp_path):
    cold = facts(tmp_path, JUPYTER_DEFAULT_PROVISIONER_NAME="local-provisioner")
    warm = facts(tmp_path, MINE="yes")
    again = facts(tmp_path, OMP_NUM_THREADS="2")
    assert (cold["warm"], warm["warm"], again["warm"]) == (False, True, True)
    assert warm["folder"] == str(tmp_path)
    assert (warm["mine"], again["mine"]) == ("yes", None)
    assert (cold["threads"], warm["threads"], again["threads"]) == (1, 1, 2)
    assert set(warm["path"]) == set(cold["path"])
    assert warm["name"] == "__main__"
    assert warm["pid"] != again["pid"]
    assert 0 < warm["seconds"] < 60
    assert not set(warm["draws"]) & set(again["draws"]), "forks draw the same random numbers"


def test_a_warm_kernel_ends_with_its_client(nursery, tmp_path):
    said = tmp_path / "pid"
    wait = f"import os, time; open({str(said)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    with subprocess.Popen(command(tmp_path, wait)) as client:
        while not (said.is_file() and said.read_text()):
            time.sleep(0.1)
        kernel = int(said.read_text())
        client.send_signal(signal.SIGKILL)
    assert ends(kernel)


def test_within_warm_kernels_no_second_nursery_starts(nursery):
    before = set(children_of(os.getpid()))
    with warm_kernels():
        assert set(children_of(os.getpid())) == before


def test_a_kernel_that_ends_on_its_own_is_seen(nursery, tmp_path):
    done = subprocess.run(
        command(tmp_path, "import os; os._exit(3)"), capture_output=True, text=True, check=False
    )
    assert "DeadKernelError" in done.stderr


def test_without_a_nursery_a_kernel_starts_as_ever(tmp_path):
    gone = {
        "JUPYTER_DEFAULT_PROVISIONER_NAME": "warm",
        "TANGENTLM_NURSERY": str(tmp_path / "gone"),
        "TANGENTLM_NURSERY_KEY": "none",
    }
    assert not facts(tmp_path, **gone)["warm"]


@pytest.mark.parametrize(("name", "printed"), [("Heartbeat", False), ("another", True)])
def test_a_thread_that_fails_is_heard_unless_it_is_the_heartbeat(
    name, printed, monkeypatch, capsys
):
    monkeypatch.setattr(threading, "excepthook", _but_for_heartbeats)
    thread = threading.Thread(target=lambda: [][1], name=name)
    thread.start()
    thread.join()
    assert ("IndexError" in capsys.readouterr().err) == printed
