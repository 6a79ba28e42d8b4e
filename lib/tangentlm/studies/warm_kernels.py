"""Notebook kernels that need not import anything: they are forked from a process that has.

Importing PyTorch, transformers and the rest takes some five seconds, more than many a page or run
computes. Inside ``warm_kernels()`` one process imports them once, and every kernel that Jupyter
starts, here or in a process below this one, is a fork of it. Where processes do not fork safely
(anywhere but on Linux), kernels start as they always do.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from multiprocessing import forkserver, get_context
from multiprocessing.managers import BaseManager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner

import tangentlm

_ADDRESS = "TANGENTLM_NURSERY"
_KEY = "TANGENTLM_NURSERY_KEY"
"""The environment variables that tell processes below how to reach the nursery."""
_PROVISIONER = "JUPYTER_DEFAULT_PROVISIONER_NAME"
_PROVISIONERS, _NAME = "jupyter_client.kernel_provisioners", "warm"
"""Where ``pyproject.toml`` makes ``WarmProvisioner`` known, and under which name."""
_IMPORTED = (
    "ipykernel.kernelapp",
    "matplotlib.pyplot",
    "pandas",
    "tangentlm.figures",
    "tangentlm.finetune.search",
    "tangentlm.finetune.taylor",
    "tangentlm.models.few_shot",
    "tangentlm.solvers",
    "tangentlm.studies.records",
    "transformers.models.modernbert.modeling_modernbert",
    "transformers.models.auto.modeling_auto",
)
"""What nearly every notebook imports. Importing it must start no thread: a fork has only one."""

_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""With these, glibc keeps the memory of large arrays for the next ones. Otherwise the system clears
every page of each anew, which took a fifth of the time of notebooks with many large arrays."""


class _Nursery:
    """Forks kernels, and knows how they ended."""

    def __init__(self) -> None:
        self._forks = get_context("forkserver")
        self._forks.set_forkserver_preload([__name__, *_IMPORTED])
        forkserver.ensure_running()  # it imports while whoever wants a kernel prepares
        self._kernels: dict[int, BaseProcess] = {}

    def start(self, options: Sequence[str], variables: Mapping[str, str], folder: str) -> int:
        """Start a kernel with its command-line options; its process id."""
        kernel = self._forks.Process(target=_become_kernel, args=(options, variables, folder))
        kernel.start()
        assert kernel.pid is not None
        self._kernels[kernel.pid] = kernel
        return kernel.pid

    def exit_code(self, pid: int) -> int | None:
        """How a kernel ended; ``None`` while it runs."""
        return self._kernels[pid].exitcode


@cache
def _nursery() -> _Nursery:
    return _Nursery()


class _Manager(BaseManager):
    """The nursery's process, and the way to it."""


_Manager.register("nursery", callable=_nursery)


def serve() -> None:
    """Be the nursery's process: tell where it is, and serve until the standard input ends."""
    sys.path[:] = filter(None, sys.path)  # without the folder of whoever started this
    server = _Manager(authkey=_key()).get_server()
    _nursery()
    print(server.address, flush=True)
    threading.Thread(target=_end_with_input, daemon=True).start()
    server.serve_forever()


def _key() -> bytes:
    return os.environ[_KEY].encode()


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


def _become_kernel(options: Sequence[str], variables: Mapping[str, str], folder: str) -> None:
    """What a fork does: it becomes the kernel that would have been started."""
    import numpy
    import torch
    from ipykernel.kernelapp import IPKernelApp
    from threadpoolctl import threadpool_limits

    client = int(variables["JPY_PARENT_PID"])
    threading.excepthook = _but_for_heartbeats
    threading.Thread(target=_end_with, args=(client,), daemon=True).start()
    os.setsid()
    os.environ.clear()
    os.environ.update(variables, JPY_PARENT_PID=str(os.getppid()))
    os.chdir(folder)
    threads = int(variables.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    for draw_anew in (random.seed, numpy.random.seed, torch.seed):
        draw_anew()
    tangentlm.STARTED = time.perf_counter()
    sys.argv = ["ipykernel_launcher", *options]
    IPKernelApp.launch_instance(list(options))


def _but_for_heartbeats(args: threading.ExceptHookArgs) -> None:
    """Print how a thread failed. A heartbeat may trip over its closed socket at the very end."""
    if args.thread is None or args.thread.name != "Heartbeat":
        threading.__excepthook__(args)


def _end_with(client: int) -> None:
    """End when the process that asked for this kernel has ended, as a child of it would."""
    while Path(f"/proc/{client}").exists():
        time.sleep(1)
    os._exit(1)


class _Kernel:
    """A kernel of the nursery, as ``subprocess.Popen`` would show it."""

    stdin = stdout = stderr = None

    def __init__(self, nursery: Any, pid: int) -> None:
        self.pid = pid
        self._nursery = nursery

    def poll(self) -> int | None:
        try:
            code: int | None = self._nursery.exit_code(self.pid)
        except (OSError, EOFError):  # the nursery has ended, and its kernels with it
            return -signal.SIGKILL
        return code

    def wait(self) -> int | None:
        return self.poll()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class WarmProvisioner(LocalProvisioner):
    """Gives Jupyter a kernel of the nursery wherever it would start a Python process."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start a kernel.

        Args:
            cmd: The command that would start it, ``python -m ipykernel_launcher ...``.
            **kwargs: As for ``subprocess.Popen``; its environment and folder count.

        Returns:
            How to reach it.
        """
        if cmd[1:3] != ["-m", "ipykernel_launcher"]:
            return await super().launch_kernel(cmd, **kwargs)
        variables = {**kwargs.get("env", os.environ), "JPY_PARENT_PID": str(os.getpid())}
        folder = str(kwargs.get("cwd") or Path.cwd())
        try:
            manager = _Manager(os.environ[_ADDRESS], _key())
            manager.connect()
            nursery = manager.nursery()  # type: ignore[attr-defined]
            kernel: Any = _Kernel(nursery, nursery.start(cmd[3:], variables, folder))
        except (OSError, EOFError):  # the nursery has ended
            return await super().launch_kernel(cmd, **kwargs)
        self.process, self.pid = kernel, kernel.pid
        self.cwd = folder
        return self.connection_info


@contextmanager
def warm_kernels() -> Generator[None]:
    """Until this is left, kernels that Jupyter starts here or below are forks of one process.

    Yields:
        Nothing.
    """
    # An environment that was installed by an older version does not know these kernels.
    known = entry_points(group=_PROVISIONERS, name=_NAME)
    if sys.platform != "linux" or _ADDRESS in os.environ or not known:
        yield
        return
    command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
    # One thread while it imports: a process with more cannot be forked safely.
    alone = {**_KEEP_MEMORY, "OMP_NUM_THREADS": "1", _KEY: secrets.token_hex(16)}
    with subprocess.Popen(
        command, env=os.environ | alone, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        address = nursery.stdout.readline().strip()
        ours = {_KEY: alone[_KEY], _ADDRESS: address, _PROVISIONER: _NAME} if address else {}
        os.environ |= ours
        try:
            yield
        finally:
            for name in ours:
                del os.environ[name]
            nursery.stdin.close()
