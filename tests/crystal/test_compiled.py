"""A few structures never wait for numba; many get it; without it there is no error."""

import subprocess
import sys

import pytest

from opalign.crystal import compiled

PREPARE = """
import sys
import numpy as np
from opalign.crystal.compiled import WORTHWHILE, load_kernels
from opalign.crystal.graph import collate
from opalign.crystal.many import build_graphs
from opalign.crystal.settings import GraphSettings
crystal = (np.eye(3) * 4.0, np.zeros((1, 3)), np.array([12]))
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", PREPARE + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_few_structures_do_not_wait_for_numba():
    code = """
graphs = list(build_graphs([crystal] * (WORTHWHILE - 1), GraphSettings()))
collate(graphs[:2])
print(len(graphs), "numba" in sys.modules)
"""
    assert run(code) == [str(compiled.WORTHWHILE - 1), "False"]


def test_many_structures_are_worth_it():
    pytest.importorskip("numba")
    code = """
graphs = list(build_graphs([crystal] * WORTHWHILE, GraphSettings()))
print(len(graphs), "numba" in sys.modules)
"""
    assert run(code) == [str(compiled.WORTHWHILE), "True"]


def test_a_numba_that_is_not_there_is_no_error():
    code = """
sys.modules["numba"] = None
print(load_kernels(), len(list(build_graphs([crystal] * WORTHWHILE, GraphSettings()))))
"""
    assert run(code) == ["None", str(compiled.WORTHWHILE)]
