"""Python functions of tensors, run once and replayed as compiled graphs; torch only, nothing here
knows of Pyro.
"""

from pyro_vae.graphs.capturing import CaptureError, Graph, capture, rollback
from pyro_vae.graphs.compiled import Compiled
from pyro_vae.graphs.compiling import compile_graph
from pyro_vae.graphs.engine import Engine, Guard, check_engine, is_worth_it
from pyro_vae.graphs.watch import Watch

__all__ = [
    "CaptureError",
    "Compiled",
    "Engine",
    "Graph",
    "Guard",
    "Watch",
    "capture",
    "check_engine",
    "compile_graph",
    "is_worth_it",
    "rollback",
]
