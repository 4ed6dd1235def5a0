"""The same float results on every x86-64 processor with AVX2: settings that torch and numpy read at import.

Libraries pick their kernels by the processor's maker and model, kernels sum in different orders, and
training amplifies the difference. With `compute.portable` each is told to use those that any processor with
AVX2 has. What this was seen to hold on, and what it costs, stands in the README.
"""

from __future__ import annotations

import os
import sys

from pipeline.console import UserError
from pipeline.params import read

PORTABLE = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # the linear layers
    "MKL_CBWR": "COMPATIBLE",  # other products and LAPACK; the mode AVX2 is ignored on AMD's processors
    "OPENBLAS_CORETYPE": "Haswell",  # numpy's and scipy's products
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # numpy's loops
}
# The number of threads decides how sums are split; none may choose its own by how many cores are free.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# What else of a user's environment was seen to change bits, or to get in the way of the settings above.
STRAY = (
    "OMP_THREAD_LIMIT",
    "OMP_MAX_ACTIVE_LEVELS",
    "FREETYPE_PROPERTIES",  # the outlines of letters in figures
    "NPY_ENABLE_CPU_FEATURES",
    "DNNL_MAX_CPU_ISA",  # oneDNN's older name
)
FIXED = {
    "OMP_DYNAMIC": "FALSE",
    "MKL_DYNAMIC": "FALSE",
    # A thread that waits for the others spins 4,000 times, then sleeps. Spinning for good, as is the default,
    # takes the core from the thread waited for: beside one busy process an epoch took 320 s instead of 8.
    # Sleeping at once costs half an epoch more when the machine is otherwise idle.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "4000",
}


_late: list[str] = []  # of numpy and torch, what had loaded before the settings were made


def settle() -> None:
    """Sets the environment as `compute` in params.yaml says; to be called before torch and numpy load.

    Where params.yaml cannot be read it does nothing: whoever loads the params says what is wrong.
    """
    try:
        compute = read()["compute"]
        threads, portable = compute["threads"], compute["portable"]
    except (UserError, OSError, KeyError, TypeError):
        return
    settings = FIXED | dict.fromkeys(THREADS, str(threads)) | (PORTABLE if portable is True else {})
    unset = [name for name in STRAY if name in os.environ]
    if portable is True and (unset or not settings.items() <= os.environ.items()):
        _late[:] = [name for name in ("numpy", "torch") if name in sys.modules]
    for name in unset:
        del os.environ[name]
    os.environ.update(settings)


def require() -> None:
    """Refuses to compute with other kernels than those of `compute.portable`.

    Raises:
        UserError: torch or numpy read their settings before `settle` had made them.
    """
    if _late:
        raise UserError(
            f"compute.portable has no effect: {' and '.join(_late)} loaded before its settings were made, "
            "and results would have other bytes\n"
            "  Run a stage as dvc.yaml does, with a profiler or debugger in front if you like "
            "(`python -m cProfile -m stages.train_vae tuned`);\n"
            "  in a notebook, import `stages` before torch and numpy."
        )
