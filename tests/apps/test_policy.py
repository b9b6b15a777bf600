# SPDX-License-Identifier: Apache-2.0
"""Policies: what they compile to, and what is said of a wrong one."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcalls.apps import policy, policy_values
from hotcalls.apps.policy_values import Bad
from hotcalls.cli import main
from hotcalls.errors import PolicyError

#: Everything but what is said of the policies that are shipped, which need the table that is.
small = pytest.mark.usefixtures("small_table")


def written(folder: Path, text: str, name: str = "p.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def compiled(folder: Path, text: str) -> list[str]:
    return policy.load(written(folder, text)).compiled().splitlines()


def complaint(folder: Path, text: str) -> str:
    path = written(folder, text)
    with pytest.raises(PolicyError) as caught:
        policy.load(path)
    assert str(caught.value).startswith(f"{path}:")
    return str(caught.value).removeprefix(f"{path}:")


@small
def test_an_empty_policy_allows_everything(tmp_path: Path) -> None:
    assert compiled(tmp_path, "# nothing\n") == ["hotcalls-policy 1", "end"]


@small
def test_listed_calls_are_allowed_and_all_others_refused(tmp_path: Path) -> None:
    lines = compiled(tmp_path, 'SystemCallFilter = ["read", "close"]\n')
    assert lines[1:-1] == ["call default refuse 1", "call close allow", "call read allow"]


@small
def test_a_tilde_refuses_what_is_listed_with_the_errno_of_its_entry(tmp_path: Path) -> None:
    text = 'SystemCallFilter = ["~read", "socket:ENETDOWN"]\nSystemCallErrorNumber = "EIO"\n'
    assert compiled(tmp_path, text)[1:-1] == ["call read refuse 5", "call socket refuse 100"]


@small
def test_a_call_made_of_another_is_decided_as_that_one(tmp_path: Path) -> None:
    assert compiled(tmp_path, 'SystemCallFilter = "~open"\n')[1:-1] == ["call openat refuse 1"]


@small
def test_a_group_stands_for_its_members_that_reach_the_host(tmp_path: Path) -> None:
    lines = compiled(tmp_path, 'SystemCallFilter = "@basic-io @default"\n')
    assert lines[1:-1] == [
        "call default refuse 1",
        "call close allow",
        "call read allow",
        "call write allow",
    ]


@small
def test_paths_become_rules_for_reading_and_for_writing(tmp_path: Path) -> None:
    text = 'InaccessiblePaths = "/"\nReadOnlyPaths = ["/usr/"]\nReadWritePaths = "/tmp/a b"\n'
    assert compiled(tmp_path, text)[1:-1] == [
        "path read refuse 13 /",
        "path write refuse 13 /",
        "path read allow /usr",
        "path write refuse 13 /usr",
        "path read allow /tmp/a b",
        "path write allow /tmp/a b",
    ]


@small
def test_a_path_with_a_newline_cannot_become_two_rules(tmp_path: Path) -> None:
    lines = compiled(tmp_path, 'ReadWritePaths = "/x\\npath write allow /"\n')
    assert lines[1:-1] == [
        "path read allow /x\\npath write allow ",
        "path write allow /x\\npath write allow ",
    ]


@small
def test_addresses_that_are_allowed_come_before_those_that_are_denied(tmp_path: Path) -> None:
    text = 'IPAddressAllow = ["10.0.0.0/8 443", "::1"]\nIPAddressDeny = "any"\n'
    lines = compiled(tmp_path, text)
    assert lines[1:5] == [
        "address connect allow inet 10.0.0.0/8 443-443",
        "address connect allow inet6 ::1/128 0-65535",
        "address connect refuse 13 inet 0.0.0.0/0 0-65535",
        "address connect refuse 13 inet6 ::/0 0-65535",
    ]
    assert [line.replace(" send ", " connect ") for line in lines[5:9]] == lines[1:5]
    assert not [line for line in lines if line.startswith("address bind")]


@small
def test_binding_is_written_as_systemd_writes_it(tmp_path: Path) -> None:
    text = 'SocketBindAllow = ["ipv4:8000-8100", "53", "127.0.0.1 80"]\nSocketBindDeny = "any"\n'
    assert compiled(tmp_path, text)[1:5] == [
        "address bind allow inet 0.0.0.0/0 8000-8100",
        "address bind allow inet 0.0.0.0/0 53-53",
        "address bind allow inet6 ::/0 53-53",
        "address bind allow inet 127.0.0.1/32 80-80",
    ]


@small
def test_a_family_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    lines = compiled(tmp_path, 'RestrictAddressFamilies = ["AF_INET", "AF_NETLINK"]\n')
    assert lines[1:5] == [
        "address connect allow other 16",
        "address connect allow inet 0.0.0.0/0 0-65535",
        "address connect refuse 13 inet6 ::/0 0-65535",
        "address connect default refuse 13",
    ]


@small
def test_an_included_policy_grows(tmp_path: Path) -> None:
    written(tmp_path, 'ReadOnlyPaths = "/usr"\nSystemCallFilter = "read"\n', "base.toml")
    text = 'Include = "base.toml"\nReadOnlyPaths = "/srv"\nSystemCallFilter = "close"\n'
    lines = compiled(tmp_path, text)
    assert {"path read allow /srv", "path read allow /usr"} <= set(lines)
    assert {"call read allow", "call close allow"} <= set(lines)


@pytest.mark.parametrize("name", ["memcached", "lighttpd", "openvpn"])
def test_a_shipped_policy_is_valid_and_can_be_included(tmp_path: Path, name: str) -> None:
    assert name in policy.shipped()
    own = policy.load(policy.shipped_path(name)).compiled()
    assert "call default refuse 1" in own
    wider = policy.load(written(tmp_path, f'Include = "{name}"\nReadOnlyPaths = "/site"\n'))
    assert set(own.splitlines()) < set(wider.compiled().splitlines())


@small
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ReadOnlyPath = '/'", "1: ReadOnlyPath: no key is called `ReadOnlyPath`; did you mean "
         "`ReadOnlyPaths`?"),
        ("\nReadOnlyPaths = [\n'/usr',\n'etc',\n]", "4: ReadOnlyPaths: `etc` is not absolute"),
        ("ReadOnlyPaths = 7", "1: ReadOnlyPaths: is a number; must be a string or a list"),
        ("ReadOnlyPaths = ['/a', true]", "1: ReadOnlyPaths: holds true or false; must be a list"),
        ("ReadOnlyPaths = '/a/../b'", "1: ReadOnlyPaths: `/a/../b` goes up with .."),
        ("ReadOnlyPaths = '/a*'", "1: ReadOnlyPaths: `/a*`: there are no patterns"),
        ("ReadOnlyPaths = '-/a'", "1: ReadOnlyPaths: `-/a`: a path has no prefix here"),
        ("ReadOnlyPaths='/a'\nReadWritePaths='/a/'", "2: ReadWritePaths: /a is in ReadOnlyPaths"),
        ("IPAddressDeny = '300.1.1.1'", "1: IPAddressDeny: `300.1.1.1` is no address; write"),
        ("IPAddressDeny = '10.0.0.1/8'", "1: IPAddressDeny: `10.0.0.1/8` has bits below its "
         "prefix; write 10.0.0.0/8"),
        ("IPAddressDeny = 'any 70000'", "1: IPAddressDeny: `70000`: ports go from 0 to 65535"),
        ("IPAddressDeny = 'any 9-3'", "1: IPAddressDeny: `9-3`: ports go from 0 to 65535"),
        ("IPAddressAllow = 'any'", "1: IPAddressAllow: has no effect, because nothing is denied; "
         'add IPAddressDeny = "any"'),
        ("SocketBindDeny = 'tcp:80'", "1: SocketBindDeny: `tcp:80`: TCP and UDP are not told"),
        ("SocketBindDeny = 'ipv5:80'", "1: SocketBindDeny: `ipv5:80`: write [ipv4:|ipv6:]PORT"),
        ("RestrictAddressFamilies = 'AF_INET7'", "1: RestrictAddressFamilies: no address family "
         "is called `AF_INET7`; did you mean `AF_INET"),
        ("SystemCallFilter = 'opne'", "1: SystemCallFilter: no system call is called `opne`; did "
         "you mean `open`?"),
        ("SystemCallFilter = '@basicio'", "1: SystemCallFilter: no group is called `@basicio`; "
         "did you mean `@basic-io`?"),
        ("SystemCallFilter = '~futex'", "1: SystemCallFilter: `futex` does not leave the enclave"),
        ("SystemCallFilter = 'read:EIO'", "1: SystemCallFilter: `read:EIO`: an errno belongs to "
         "what is refused"),
        ("SystemCallErrorNumber = 'EPREM'", "1: SystemCallErrorNumber: `EPREM` is no errno; write "
         "its name, like EPERM"),
        ("SystemCallErrorNumber = []", "1: SystemCallErrorNumber: is a list; must be the name"),
        ("a = [1", "1: is not TOML: "),
        ("Include = 'memcache'", "1: Include: no policy is called `memcache`; did you mean"),
        ("Include = './nothing.toml'", "1: Include: "),
        ("[Limits]\nx = 1", "1: Limits: no key is called `Limits`; there are"),
    ],
)  # fmt: skip
def test_a_wrong_policy_is_refused_with_line_key_and_what_is_allowed(
    tmp_path: Path, text: str, said: str
) -> None:
    found = complaint(tmp_path, text)
    assert found.startswith(said) or said in found, found


@small
def test_a_policy_that_includes_itself_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, 'Include = "p.toml"\n')
    with pytest.raises(PolicyError, match="include each other"):
        policy.load(path)


@small
def test_a_policy_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match="not UTF-8"):
        policy.load(path)


@small
def test_a_refused_policy_ends_the_command_with_status_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "\nReadOnlyPaths = 'x'\n")
    with pytest.raises(SystemExit) as left:
        main(["run", "--policy", str(path), "--", "true"])
    assert left.value.code == 3
    assert capsys.readouterr().err.startswith(f"{path}:2: ReadOnlyPaths: `x` is not absolute")


@small
def test_a_policy_that_is_not_there_names_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--policy", "nothing", "--", "true"])
    assert "lighttpd, memcached, openvpn" in capsys.readouterr().err


@small
@given(st.text(max_size=40))
def test_any_text_is_an_address_or_is_refused(text: str) -> None:
    try:
        rules = policy_values.address(text)
    except Bad:
        return
    for rule in rules:
        kind, network, span = rule.words().split(" ")
        assert kind in ("inet", "inet6")
        assert ipaddress.ip_network(network) == rule.network
        assert 0 <= int(span.split("-")[0]) <= int(span.split("-")[1]) <= 65535


@small
@given(st.text(max_size=40))
def test_any_text_is_a_path_of_whole_components_or_is_refused(text: str) -> None:
    try:
        prefix = policy_values.path_prefix(text)
    except Bad:
        return
    assert prefix.startswith("/")
    assert "//" not in prefix
    assert policy_values.path_prefix(prefix) == prefix


@small
@given(st.text(max_size=30))
def test_any_text_is_something_to_bind_or_is_refused(text: str) -> None:
    try:
        assert policy_values.bind(text)
    except Bad:
        return


@small
@given(
    st.dictionaries(
        st.sampled_from(sorted(policy._KEYS)),
        st.lists(st.text(max_size=12), max_size=4),
        max_size=5,
    )
)
def test_a_policy_of_any_strings_compiles_to_whole_lines_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, list[str]]
) -> None:
    import json

    path = tmp_path_factory.mktemp("p") / "p.toml"
    text = "\n".join(
        f"{key} = {json.dumps(value, ensure_ascii=True)}" for key, value in data.items()
    )
    path.write_text(text.replace("\\u007f", "\\u007F"))
    try:
        lines = policy.load(path).compiled().split("\n")
    except PolicyError:
        return
    assert (lines[0], lines[-2], lines[-1]) == ("hotcalls-policy 1", "end", "")
    assert {line.split(" ")[0] for line in lines[1:-2]} <= {"call", "path", "address"}


def examples(root: Path) -> list[str]:
    """Return the policies that the documents show."""
    page = (root / "docs/man/hotcalls-policy.5").read_text().replace("\\-", "-")
    guide = (root / "docs/run.md").read_text()
    return [
        *re.findall(r"^\.EX\n(.*?)^\.EE$", page, re.MULTILINE | re.DOTALL),
        *re.findall(r"^```toml\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL),
    ]


def test_the_policies_that_documents_show_are_valid(repository: Path, tmp_path: Path) -> None:
    found = examples(repository)
    assert len(found) == 3
    for text in found:
        assert "end" in compiled(tmp_path, text)


@small
def test_totals_become_lines_with_what_they_are_of(tmp_path: Path) -> None:
    text = (
        'IPEgressBytesMax = ["1K", "localhost 80 2M"]\n'
        'IOReadBytesMax = 7\nIOWriteBytesMax = "/var/a b/ 1G"\n'
    )
    assert compiled(tmp_path, text)[1:-1] == [
        "total ip-out 1024 122",
        "total ip-out 2097152 122",
        "only inet 127.0.0.0/8 80-80",
        "only inet6 ::1/128 80-80",
        "total io-read 7 122",
        "total io-write 1073741824 122",
        "only path /var/a b",
    ]


@small
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('IOReadBytesMax = "10X"', "`10X` is no number of bytes; write 65536, 64K"),
        ('IOReadBytesMax = "-1"', "`-1` is no number of bytes"),
        ('IOReadBytesMax = ""', "`` is no number of bytes"),
        ('IOReadBytesMax = "9999999999T"', "more than can be counted"),
        ('IOReadBytesMax = "etc 10"', "`etc` is not absolute"),
        ('IPIngressBytesMax = "/etc 10"', "`/etc` is no address"),
        ('IPIngressBytesMax = "127.0.0.1 80-70 10"', "FIRST is not above LAST"),
        ("IOReadBytesMax = 1.5", "must be a list of strings"),
        ("IOReadBytesMax = true", "must be a list of strings"),
        ("IOReadBytesMax = [true]", "must be a list of strings"),
        (f"IOReadBytesMax = {[str(n) for n in range(27)]}", "more than 26 totals"),
    ],
)
def test_a_total_that_is_wrong_is_named(tmp_path: Path, line: str, said: str) -> None:
    complained = complaint(tmp_path, line + "\n")
    assert complained.startswith(f"1: {line.split()[0]}: ")
    assert said in complained
