import os

# PyTorch and Numba each bring threads of OpenMP, which by default spin where they wait for work:
# on a busy machine against each other, and against everybody else. Read when PyTorch is imported,
# so it is set before; whoever has set it knows better.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
