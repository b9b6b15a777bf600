# SPDX-License-Identifier: Apache-2.0
# Types of the compiled part of hotcalls.wire.

from collections.abc import Callable, Iterable, Mapping
from typing import Any

class Check:
    def __call__(self, value: Any) -> bool: ...

class Never(Check): ...

class Other(Check):
    def __init__(self, function: Callable[[Any], bool]) -> None: ...

class Exact(Check):
    def __init__(self, types: Iterable[type]) -> None: ...

class Items(Check):
    def __init__(self, container: type, item: Check) -> None: ...

class Pairs(Check):
    def __init__(self, key: Check, item: Check) -> None: ...

class Each(Check):
    def __init__(self, checks: Iterable[Check]) -> None: ...

class Plain(Check):
    def __init__(self, scalars: Iterable[type], depth: int) -> None: ...

def encoder(
    check: Check, encode: Callable[[Any], bytes], slow: Callable[[Any], bytes]
) -> Callable[[Any], bytes]: ...
def call_encoder(
    check: Check,
    encode: Callable[[Any], bytes],
    slow: Callable[[Any], bytes],
    bind: Callable[[tuple[Any, ...], Mapping[str, Any]], tuple[Any, ...]],
) -> Callable[[tuple[Any, ...], Mapping[str, Any]], bytes]: ...
def decoder(
    decode: Callable[[Any], Any], slow: Callable[[Any, Exception], Any]
) -> Callable[[Any], Any]: ...
