"""The same float results on every x86-64 processor with AVX2: settings that torch and numpy read at import.

Libraries choose their kernels by the processor's maker and model, kernels sum in different orders, and
training amplifies the difference. With `compute.portable` they use those that any processor with AVX2 has.
The README says on which processors this was tested, and what it costs.
"""

import os
import sys

from workflow.core.errors import UserError
from workflow.core.files import read_yaml

PORTABLE = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # the linear layers
    "MKL_CBWR": "COMPATIBLE",  # other products and LAPACK; the mode AVX2 is ignored on AMD's processors
    "OPENBLAS_CORETYPE": "Haswell",  # numpy's and scipy's products
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # numpy's loops
}
# The number of threads decides how sums are split, so that no library may choose it by the free cores.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Removed: they change bits, or override the settings above.
UNSET = (
    "OMP_THREAD_LIMIT",
    "OMP_MAX_ACTIVE_LEVELS",
    "FREETYPE_PROPERTIES",  # the outlines of letters in figures
    "NPY_ENABLE_CPU_FEATURES",
    "DNNL_MAX_CPU_ISA",  # oneDNN's older name
)
FIXED = {
    "OMP_DYNAMIC": "FALSE",
    "MKL_DYNAMIC": "FALSE",
    # A waiting thread spins 4,000 times, then sleeps. By default it spins for ever and takes the core from
    # the thread it waits for: beside one busy process an epoch took 320 s instead of 8. If it slept at once,
    # an epoch would take half as long again on an idle machine.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "4000",
}


NOT_APPLIED = "nothing applied them"
_state = {"fault": NOT_APPLIED}


def apply() -> None:
    """Sets the environment as `compute` in params.yaml says; call it before torch and numpy are imported.

    It does nothing where params.yaml is faulty: `params.load` reports that.
    """
    try:
        compute = read_yaml()["compute"]
        threads, portable = compute["threads"], compute["portable"]
    except (UserError, OSError, KeyError, TypeError):
        return
    settings = FIXED | dict.fromkeys(THREADS, str(threads)) | (PORTABLE if portable is True else {})
    unset = [name for name in UNSET if name in os.environ]
    late = [name for name in ("numpy", "torch") if name in sys.modules]
    changed = unset or not settings.items() <= os.environ.items()
    fault = f"{' and '.join(late)} loaded first" if late and changed and portable is True else ""
    if fault or _state["fault"] == NOT_APPLIED:  # once they are too late, they stay so
        _state["fault"] = fault
    for name in unset:
        del os.environ[name]
    os.environ.update(settings)


def require() -> None:
    """Raises a UserError if `apply` was not called before torch and numpy read their settings."""
    if fault := _state["fault"]:
        raise UserError(
            f"the settings of `compute` have no effect ({fault}): results would have other bytes\n"
            "  Run a stage by `python -m workflow STAGE`, also under a profiler or debugger "
            "(`python -m cProfile -m workflow STAGE`).\n"
            "  Elsewhere call workflow.core.processor.apply() before torch and numpy are imported."
        )
