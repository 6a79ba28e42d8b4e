"""tangentlm: when is fine-tuning a language model kernel regression with its eNTK?

What a user calls is here, and is imported when it is first used::

    import tangentlm

    shots = tangentlm.few_shot("reviews", k=4, model="pocket-xs")
    kernel = tangentlm.entk(shots.model, shots.part("train").batch)
    solver = tangentlm.KernelLeastSquares().fit(kernel.values, shots.part("train").labels)

The rest is in rooms, and a room imports only from those before it: errors; batches, metrics;
params; tasks; models; kernels; solvers; finetune; minilang; pretrain; theory; studies; analysis;
figures, report; malladi.
"""

import time

STARTED = time.perf_counter()
"""When this process first imported the library: where the clock of a run's cost starts."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tangentlm.errors import InputError as InputError
    from tangentlm.errors import NonFiniteError as NonFiniteError
    from tangentlm.finetune.loop import fine_tune as fine_tune
    from tangentlm.kernels import Kernel as Kernel
    from tangentlm.kernels import KernelCost as KernelCost
    from tangentlm.kernels import decompose as decompose
    from tangentlm.kernels import entk as entk
    from tangentlm.models.few_shot import few_shot as few_shot
    from tangentlm.models.heads import load_model as load_model
    from tangentlm.solvers import AsymmetricLeastSquares as AsymmetricLeastSquares
    from tangentlm.solvers import KernelLeastSquares as KernelLeastSquares
    from tangentlm.solvers import KernelLogistic as KernelLogistic
    from tangentlm.solvers import KernelRowsLogistic as KernelRowsLogistic
    from tangentlm.solvers import select as select
    from tangentlm.tasks import load_split as load_split
    from tangentlm.tasks import load_task as load_task

_ROOMS = (
    "analysis", "batches", "errors", "figures", "finetune", "kernels", "malladi", "metrics",
    "minilang", "models", "params", "pretrain", "report", "solvers", "studies", "tasks", "theory",
)  # fmt: skip
_HOMES = {
    "AsymmetricLeastSquares": "tangentlm.solvers",
    "InputError": "tangentlm.errors",
    "Kernel": "tangentlm.kernels",
    "KernelCost": "tangentlm.kernels",
    "KernelLeastSquares": "tangentlm.solvers",
    "KernelLogistic": "tangentlm.solvers",
    "KernelRowsLogistic": "tangentlm.solvers",
    "NonFiniteError": "tangentlm.errors",
    "decompose": "tangentlm.kernels",
    "entk": "tangentlm.kernels",
    "few_shot": "tangentlm.models.few_shot",
    "fine_tune": "tangentlm.finetune.loop",
    "load_model": "tangentlm.models.heads",
    "load_split": "tangentlm.tasks",
    "load_task": "tangentlm.tasks",
    "select": "tangentlm.solvers",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"tangentlm.{name}")
    from tangentlm.errors import unknown_name

    raise AttributeError(f"tangentlm: {unknown_name('name', name, _HOMES)}")


def __dir__() -> list[str]:
    own = (name for name in globals() if name.startswith("__"))
    return sorted([*own, *_HOMES, *_ROOMS, "STARTED"])
