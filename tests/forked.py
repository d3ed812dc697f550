"""Processes of one run, forked from a test: what torchrun starts, without its seconds of imports."""

from __future__ import annotations

import os
import signal
import socket
import time
import traceback
from collections.abc import Callable


def forked(work: Callable[[int], None], num: int = 2, timeout_s: float = 90) -> list[int]:
    """work(rank) in `num` processes that can meet. Their exit codes, negative for a signal.

    Once one of them is dead by a signal, or at the end of the time, the others are killed: a run that hangs is no run.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    children = [_child(work, rank, num, port) for rank in range(num)]
    codes: dict[int, int] = {}
    end = time.monotonic() + timeout_s
    while len(codes) < num:
        for rank, child in enumerate(children):
            if rank not in codes and (status := os.waitpid(child, os.WNOHANG))[0]:
                codes[rank] = os.waitstatus_to_exitcode(status[1])
        if time.monotonic() > end or any(code < 0 for code in codes.values()):
            for rank, child in enumerate(children):
                if rank not in codes:
                    os.kill(child, signal.SIGKILL)
                    codes[rank] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(0.02)
    return [codes[rank] for rank in range(num)]


def _child(work: Callable[[int], None], rank: int, num: int, port: int) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        from accelerate.state import AcceleratorState, PartialState

        from radvqa import together

        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ |= {key: str(value) for key, value in told.items()}
        PartialState._reset_state()  # the parent's
        AcceleratorState._reset_state()
        work(rank)
        together._part()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
