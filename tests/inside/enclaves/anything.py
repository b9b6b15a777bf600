# SPDX-License-Identifier: Apache-2.0
"""An enclave that runs the code that it is sent: what a taken-over one could try."""

import asyncio
import base64
import concurrent.futures
import ctypes
import datetime  # noqa: ICN001 -- by its name in what is sent
import decimal
import gc
import hashlib
import hmac
import json
import logging
import mmap
import os
import pathlib
import queue
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import hotcalls


@hotcalls.ocall
def audit(event: str) -> None: ...


@hotcalls.ocall
def double(data: bytes) -> bytes: ...


@hotcalls.ocall
def fail(text: str) -> None: ...


@hotcalls.ecall
def attempt(code: str) -> str:
    """Run statements; `r` is what they found."""
    names = dict(globals())
    exec(code, names)
    return repr(names.get("r"))


@hotcalls.ecall
def echo(data: bytes) -> bytes:
    return data


@hotcalls.ecall
def nothing() -> None:
    pass


@hotcalls.ecall
def add(left: int, right: int = 3) -> int:
    return left + right


@hotcalls.ecall
def zeros(size: int) -> bytes:
    return bytes(size)


@hotcalls.ecall
def not_bytes(data: bytes) -> bytes:
    return 5


USED = (
    asyncio, base64, concurrent.futures, ctypes, datetime, decimal, gc, hashlib, hmac, json,
    logging, mmap, os, pathlib, queue, random, re, secrets, signal, socket, subprocess, sys,
    tempfile, threading, time, uuid,
)  # fmt: skip
