# SPDX-License-Identifier: Apache-2.0
"""``hotcalls bench``: what each crossing costs on this machine.

Runs in the host only. ``measure`` runs the C worker, ``analysis`` turns its samples into a
``model.Result``, and everything that is shown (``table``, ``plots``, ``pages``, ``compare``,
``practices``) is drawn from a result alone, as it was written to JSON. ``report`` and
``chart`` know nothing of benchmarks: other commands draw with them too.
"""
