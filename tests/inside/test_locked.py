# SPDX-License-Identifier: Apache-2.0
"""What Python code can do once its enclave is locked down, and what it is told when it cannot."""

from __future__ import annotations

import errno
import importlib
from collections.abc import Callable

import pytest

import hotcalls

WORKS = {
    "sleep": ("time.sleep(0.001)", "None"),
    "random numbers": ("r = 0 <= random.random() < 1, len(secrets.token_bytes(5))", "(True, 5)"),
    "os.urandom": ("r = len(os.urandom(3))", "3"),
    "uuid4": ("r = uuid.uuid4().version", "4"),
    "hashlib": (
        "r = hashlib.sha256(b'x').hexdigest()[:4], hashlib.new('sha3_256').digest_size",
        "('2d71', 32)",
    ),
    "hmac": ("r = len(hmac.digest(b'k', b'm', 'sha256'))", "32"),
    "json": ("r = json.loads(json.dumps({'a': [1, 2.5]}))", "{'a': [1, 2.5]}"),
    "re": ("r = re.sub('a+', 'b', 'caat')", "'cbt'"),
    "logging": ("logging.getLogger('inside').debug('never shown')", "None"),
    "printing": ("print(end='')", "None"),
    "a thread": (
        "r = []; t = threading.Thread(target=r.append, args=(1,)); t.start(); t.join()",
        "[1]",
    ),
    "a timed wait": ("r = threading.Event().wait(0.001)", "False"),
    "a thread pool": (
        "r = concurrent.futures.ThreadPoolExecutor(2).submit(lambda: 5).result()",
        "5",
    ),
    "a timer": (
        "q = queue.Queue(); threading.Timer(0.001, q.put, [1]).start(); r = q.get(timeout=60)",
        "1",
    ),
    "garbage collection": ("r = gc.collect() >= 0", "True"),
    "much memory": ("r = len(bytearray(200 << 20))", str(200 << 20)),
    "much memory in pieces": ("r = len([bytes(999) for _ in range(50000)])", "50000"),
    "asyncio": (
        "async def f():\n await asyncio.sleep(0.001)\n return await asyncio.to_thread(lambda: 7)\n"
        "r = asyncio.run(f())",
        "7",
    ),
    "asyncio.gather": (
        "async def f():\n return await asyncio.gather(*(asyncio.sleep(0, i) for i in range(3)))\n"
        "r = asyncio.run(f())",
        "[0, 1, 2]",
    ),
    "a wake-up from another thread": (
        "async def f():\n loop = asyncio.get_running_loop()\n done = loop.create_future()\n"
        " threading.Timer(0.01, loop.call_soon_threadsafe, [done.set_result, 4]).start()\n"
        " return await asyncio.wait_for(done, 5)\nr = asyncio.run(f())",
        "4",
    ),
    "asyncio timeouts": (
        "async def f():\n try:\n  await asyncio.wait_for(asyncio.sleep(9), 0.01)\n"
        " except asyncio.TimeoutError:\n  return 'late'\nr = asyncio.run(f())",
        "'late'",
    ),
    "dates": ("r = datetime.datetime.strptime('2020-01-02', '%Y-%m-%d').day", "2"),
    "local time": (
        "r = time.localtime().tm_year > 2020, bool(time.strftime('%c'))",
        "(True, True)",
    ),
    "decimal": ("r = decimal.Decimal('1.1') + 1", "Decimal('2.1')"),
    "own ids": ("r = os.getuid() < 1 << 31 and os.getppid() >= 0 and os.getpid() > 0", "True"),
    "processor time": (
        "r = min(time.process_time(), time.thread_time(), os.times().user) >= 0",
        "True",
    ),
    "deep recursion": (
        "def f(n):\n return n and 1 + f(n - 1)\nr = f(900)",
        "900",
    ),
    "endless recursion": (
        "def f():\n return f()\ntry:\n f()\nexcept RecursionError:\n r = 'told'",
        "'told'",
    ),
    "own modules": ("import json; r = json.__name__", "'json'"),
    "builtin modules": ("import marshal, faulthandler; r = marshal.loads(marshal.dumps(1))", "1"),
    "codecs": ("r = 'ä'.encode('latin-1'), 'x'.encode('idna')", "(b'\\xe4', b'x')"),
    "memory without a file": ("r = len(bytes(mmap.PAGESIZE)) > 0", "True"),
}


@pytest.mark.parametrize("name", WORKS)
def test_ordinary_code_works(anything: hotcalls.Enclave, name: str) -> None:
    code, expected = WORKS[name]
    assert anything.attempt(code) == expected


REFUSED = {
    "open a file": ("open('/etc/passwd')", "cannot open files: read '/etc/passwd' in @hotcalls"),
    "open by os": ("os.open('/etc/passwd', os.O_RDONLY)", "cannot open files"),
    "read a path": ("pathlib.Path('/etc/passwd').read_bytes()", "cannot open files"),
    "list a folder": ("os.listdir('/')", "sees no files"),
    "look at a file": ("os.stat('/etc/passwd')", "refused ('/etc/passwd')"),
    "change the folder": ("os.chdir('/tmp')", "refused ('/tmp')"),
    "remove a file": ("os.remove('/tmp/x')", "sees no files"),
    "a socket": ("socket.socket()", "reaches no network"),
    "a connection": ("socket.create_connection(('127.0.0.1', 9), 1)", "reaches no network"),
    "a name": ("socket.getaddrinfo('localhost', 80)", "reaches no network"),
    "a pair of sockets": ("socket.socketpair()", "the system call behind this is refused"),
    "a pipe": ("os.pipe()", "the system call behind this is refused"),
    "a program": ("subprocess.run(['/bin/true'])", "starts no processes"),
    "a shell": ("os.system('true')", "starts no processes"),
    "another program": ("os.execv('/bin/true', ['true'])", "starts no processes"),
    "fork": ("os.fork()", "starts no processes"),
    "signal its host": ("os.kill(os.getppid(), 9)", "the system call behind this is refused"),
    "signal itself as another": ("os.kill(1, 0)", "the system call behind this is refused"),
    "duplicate a descriptor": ("os.dup(1)", "the system call behind this is refused"),
    "standard input": ("sys.stdin.read()", "the system call behind this is refused"),
    "asyncio's network": (
        "async def f():\n await asyncio.open_connection('127.0.0.1', 9)\nasyncio.run(f())",
        "reaches no network",
    ),
    "shared memory": ("mmap.mmap(-1, 4096)", "sees no files"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_code_is_told_what_to_do_instead(anything: hotcalls.Enclave, name: str) -> None:
    code, words = REFUSED[name]
    with pytest.raises(hotcalls.RemoteError) as caught:
        anything.attempt(code)
    assert caught.value.type_name.endswith("EnclaveLocked")
    assert words in str(caught.value)


def test_refusal_is_a_permission_error_inside(anything: hotcalls.Enclave) -> None:
    code = "try:\n open('/x')\nexcept PermissionError as e:\n r = e.errno"
    assert anything.attempt(code) == str(errno.ESRMNT)


def test_import_of_something_new_names_the_fix(anything: hotcalls.Enclave) -> None:
    with pytest.raises(hotcalls.RemoteError, match=r"launch\(preload=\['wave'\]\)"):
        anything.attempt("import wave")


def test_optional_import_falls_back(anything: hotcalls.Enclave) -> None:
    code = "try:\n import wave\nexcept ImportError as e:\n r = e.name"
    assert anything.attempt(code) == "'wave'"


CTYPES = {
    "open": "libc.open(b'/etc/passwd', 0)",
    "socket": "libc.socket(2, 1, 0)",
    "fork": "libc.syscall(57)",
    "execve": "libc.execve(b'/bin/true', None, None)",
    "ptrace": "libc.ptrace(0, 0, None, None)",
    "make a page executable": "libc.mprotect(ctypes.c_void_p(page), 4096, 5)",
    "map an executable page": "libc.mmap(None, 4096, 7, 0x22, -1, 0)",
    "map the log": "libc.mmap(None, 4096, 1, 2, 2, 0)",
    "become dumpable": "libc.prctl(4, 1, 0, 0, 0)",
    "write to the channel's descriptor": "libc.write(3, b'x', 1)",
    "memfd_create": "libc.memfd_create(b'x', 0)",
    "select with descriptors": "libc.select(1, None, None, None, None)",
}


@pytest.mark.parametrize("name", CTYPES)
def test_system_call_made_by_hand_gets_the_improbable_errno(
    anything: hotcalls.Enclave, name: str
) -> None:
    code = (
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "libc.mmap.restype = ctypes.c_ssize_t\n"
        "page = id(libc) & -4096\n"
        f"r = {CTYPES[name]}, ctypes.get_errno()"
    )
    assert anything.attempt(code) == f"(-1, {errno.ESRMNT})"


def test_new_library_cannot_be_loaded(anything: hotcalls.Enclave) -> None:
    with pytest.raises(hotcalls.RemoteError, match=r"cannot open shared object|Srmount"):
        anything.attempt("ctypes.CDLL('libcurses.so.6')")


def test_numpy_works_inside(start: Callable[..., hotcalls.Enclave]) -> None:
    enclave = start(
        """
        import numpy

        @hotcalls.ecall
        def solve(size: int) -> list[float]:
            numbers = numpy.random.default_rng(1).random((size, size))
            inverse = numpy.linalg.inv(numbers)
            return [float(numpy.abs(numbers @ inverse - numpy.eye(size)).max())]
        """
    )
    assert enclave.solve(200)[0] < 1e-6


def test_cryptography_works_inside(start: Callable[..., hotcalls.Enclave]) -> None:
    enclave = start(
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        KEY = Ed25519PrivateKey.generate()

        @hotcalls.ecall
        def public_key() -> bytes:
            return KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

        @hotcalls.ecall
        def sign(message: bytes) -> bytes:
            return KEY.sign(message)

        @hotcalls.ecall
        def seal(message: bytes) -> bytes:
            with hotcalls.secret_bytes(32) as key:
                cipher = AESGCM(key)
                return cipher.decrypt(bytes(12), cipher.encrypt(bytes(12), message, None), None)
        """
    )
    ed25519 = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    public = ed25519.Ed25519PublicKey.from_public_bytes(enclave.public_key())
    public.verify(enclave.sign(b"message"), b"message")
    assert enclave.seal(b"message") == b"message"
