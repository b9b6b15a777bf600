# SPDX-License-Identifier: Apache-2.0
"""The worker of ``hotcalls bench --python``: see `hotcalls.bench.python.worker`.

A module of its own, so that the servers, which are spawned, do not import the worker.
"""

import sys

from hotcalls.bench.python.worker import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
