"""What is compiled for an instruction set stays apart from the rest of the program.

A function that two sources emit is linked once, and the linker may take either: one that was compiled for AVX-512 in a
source of the kernels would then run on processors that have none. So these sources may share nothing with others but
functions that the compiler names after an instruction set or its operands.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

LIBRARY = Path(os.environ["LONGROPE_KERNELS_LIBRARY"])
# What the names of a source's functions must hold: its instruction set, or what stands on it.
OWN = {"cpu_kernels_avx2": "longrope::Avx2", "cpu_kernels_avx512": "longrope::Avx512",
       "cpu_kernels_avx512_bfloat16": "longrope::Bfloat16Operands"}
CONSTANTS = {"longrope::kAllKept", "DW.ref.__gxx_personality_v0"}


def shared_symbols():
    """{source: symbols that the linker may take from it for the whole program}, of the sources of instruction sets."""
    printed = subprocess.run(["nm", "--demangle", "--defined-only", str(LIBRARY)], stdout=subprocess.PIPE, text=True,
                             check=True).stdout
    found, source = {}, None
    for line in printed.splitlines():
        if member := re.match(r"(cpu_kernels_\w+)\.cpp\.o:", line):
            source = member[1]
            found[source] = []
        elif line.endswith(".o:"):
            source = None
        elif source and (symbol := re.match(r"[0-9a-f]+ [WVuw] (.*)", line)):
            found[source].append(symbol[1])
    return found


@pytest.mark.skipif(os.uname().machine not in ("x86_64", "amd64"), reason="NOT RUN: the kernels are for x86-64")
def test_sources_of_instruction_sets_share_no_function_with_others():
    symbols = shared_symbols()
    assert symbols.keys() == OWN.keys()
    shared = {source: [name for name in names if OWN[source] not in name and name not in CONSTANTS]
              for source, names in symbols.items()}
    assert not any(shared.values()), shared
