# SPDX-License-Identifier: Apache-2.0
"""The trusted functions of the ``sgx-sdk`` target: bridges of ecalls, proxies of ocalls.

Called by :mod:`hotcalls.edl.sgx`.  Every check of the generated code stands here or in
``templates/sgx``; tests/sgx/test_mutation.py removes each in turn.
"""

from __future__ import annotations

from hotcalls.edl import ctext
from hotcalls.edl.model import Direction, Function, Interface, c_spelling
from hotcalls.edl.sgx_deep import deep_table
from hotcalls.edl.sgx_parameters import Argument, arguments, declaration, needs_ms

_INVALID = "return SGX_ERROR_INVALID_PARAMETER;"


def ecall_bridge(interface: Interface, ecall: Function) -> str:
    """What receives an ecall: checks and copies its arguments, runs it, copies the answer."""
    lines = [f"static sgx_status_t SGX_CDECL sgx_{ecall.name}(void *pms)", "{"]
    if not needs_ms(ecall):
        lines += [
            "    if (pms != NULL)",
            f"        {_INVALID}",
            f"    {ecall.name}();",
            "    return SGX_SUCCESS;",
            "}",
            "",
        ]
        return "\n".join(lines)
    struct = f"ms_{ecall.name}_t"
    every = arguments(interface, ecall)
    copied = [argument for argument in every if argument.copied]
    lines += [f"    {struct} ms;"]
    if not ecall.is_void:
        spelled = c_spelling(ecall.returns)
        lines.append(f"    {spelled}{'' if spelled.endswith('*') else ' '}hc_retval;")
    if copied:
        lines.append("    sgx_status_t hc_status = SGX_SUCCESS;")
    for argument in copied:
        lines.append(f"    size_t hc_size_{argument.name} = 0;")
        lines.append(f"    {_declare(argument.pointer, f'hc_copy_{argument.name}')} = NULL;")
        if argument.deep is not None:
            lines.append(f"    struct hc_deep *hc_held_{argument.name} = NULL;")
    lines += [
        f"    CHECK_REF_POINTER(pms, sizeof({struct}));",
        "    sgx_lfence();",
        f"    {struct} *u_ms = SGX_CAST({struct} *, pms);",
        "    hc_sgx_read(&ms, u_ms, sizeof ms);",
    ]
    if ecall.is_void:
        lines.append("    (void)u_ms;")
    for argument in copied:
        field = f"ms.ms_{argument.name}"
        count, unit = argument.size(field, "ms.ms_", f"{field}_len")
        lines += _multiply(count, unit, f"hc_size_{argument.name}")
        lines.append(f"    CHECK_UNIQUE_POINTER({field}, hc_size_{argument.name});")
    if copied:
        lines.append("    sgx_lfence();")
    for argument in copied:
        lines += _copy_in(argument)
    passed = [
        argument.as_passed(f"hc_copy_{argument.name}")
        if argument.copied
        else argument.as_passed(f"ms.ms_{argument.name}")
        for argument in every
    ]
    lines.append(ctext.invoke(ecall.name if ecall.is_void else f"hc_retval = {ecall.name}", passed))
    if not ecall.is_void:
        lines.append("    hc_sgx_write(&u_ms->ms_retval, &hc_retval, sizeof hc_retval);")
    for argument in copied:
        if argument.parameter.direction.comes_out:
            lines += _copy_out(argument)
    if copied:
        lines.append("hc_end:")
        for argument in reversed(copied):
            if argument.deep is not None:
                lines.append(f"    free(hc_held_{argument.name});")
            lines.append(f"    free((void *)hc_copy_{argument.name});")
    lines += [f"    return {'hc_status' if copied else 'SGX_SUCCESS'};", "}", ""]
    return "\n".join(lines)


def _declare(type_: str, name: str) -> str:
    return f"{type_}{'' if type_.endswith('*') else ' '}{name}"


def _multiply(count: str, unit: str, size: str) -> list[str]:
    if count == "1":
        return [f"    {size} = {unit};"]
    return [f"    if (!hc_sgx_mul({count}, {unit}, &{size}))", f"        {_INVALID}"]


def _stop(condition: str, status: str) -> list[str]:
    return [
        f"        if ({condition}) {{",
        f"            hc_status = {status};",
        "            goto hc_end;",
        "        }",
    ]


def _copy_in(argument: Argument) -> list[str]:
    name = argument.name
    size, copy = f"hc_size_{name}", f"hc_copy_{name}"
    lines = [f"    if (ms.ms_{name} != NULL && {size} != 0) {{"]
    if argument.whole_elements:
        lines += _stop(f"{size} % {argument.whole_elements} != 0", "SGX_ERROR_INVALID_PARAMETER")
    lines.append(f"        {copy} = ({argument.pointer})malloc({size});")
    lines += _stop(f"{copy} == NULL", "SGX_ERROR_OUT_OF_MEMORY")
    if argument.parameter.direction.goes_in:
        lines.append(f"        hc_sgx_read((void *){copy}, ms.ms_{name}, {size});")
    elif not argument.parameter.nrz:
        lines.append(f"        memset((void *){copy}, 0, {size});")
    if argument.parameter.string == "string":
        ends = f"{copy}[{size} - 1u] != 0 || strlen({argument.chars(copy)}) + 1u != {size}"
        lines += _stop(ends, "SGX_ERROR_UNEXPECTED")
    elif argument.parameter.string == "wstring":
        last = f"{copy}[{size} / sizeof(wchar_t) - 1u]"
        lines += _stop(f"{size} % sizeof(wchar_t) != 0 || {last} != 0", "SGX_ERROR_UNEXPECTED")
        lines += _stop(f"(wcslen({copy}) + 1u) * sizeof(wchar_t) != {size}", "SGX_ERROR_UNEXPECTED")
    if argument.deep is not None:
        passed = [f"&{deep_table(argument.deep)}", f"(uint8_t *){copy}", size, f"&hc_held_{name}"]
        lines.append(ctext.invoke("hc_status = hc_deep_in", passed, indent=8))
        lines += _unless_success(8)
    return [*lines, "    }"]


def _unless_success(indent: int) -> list[str]:
    blank = " " * indent
    return [f"{blank}if (hc_status != SGX_SUCCESS)", f"{blank}    goto hc_end;"]


def _copy_out(argument: Argument) -> list[str]:
    name = argument.name
    size, copy = f"hc_size_{name}", f"hc_copy_{name}"
    lines = [f"    if ({copy} != NULL) {{"]
    if argument.deep is not None:
        passed = [f"&{deep_table(argument.deep)}", f"(uint8_t *){copy}", size, f"hc_held_{name}"]
        lines.append(ctext.invoke("hc_status = hc_deep_out", passed, indent=8))
        lines += _unless_success(8)
    if argument.parameter.string == "string":
        lines += [
            f"        {copy}[{size} - 1u] = 0;",
            f"        {size} = strlen({argument.chars(copy)}) + 1u;",
        ]
    elif argument.parameter.string == "wstring":
        lines += [
            f"        {copy}[{size} / sizeof(wchar_t) - 1u] = 0;",
            f"        {size} = (wcslen({copy}) + 1u) * sizeof(wchar_t);",
        ]
    lines.append(f"        hc_sgx_write((void *)ms.ms_{name}, {copy}, {size});")
    return [*lines, "    }"]


def ocall_prototype(interface: Interface, ocall: Function) -> str:
    """The prototype of what the enclave calls."""
    del interface
    parameters = []
    if not ocall.is_void:
        parameters.append(_declare(_pointer(c_spelling(ocall.returns)), "retval"))
    parameters += [declaration(p) for p in ocall.parameters]
    return ctext.invoke(f"sgx_status_t SGX_CDECL {ocall.name}", parameters or ["void"], "", 0)


def _pointer(type_: str) -> str:
    return f"{type_}*" if type_.endswith("*") else f"{type_} *"


def ocall_proxy(interface: Interface, ocall: Function, *, hot: bool) -> str:
    """What the enclave calls: copies its arguments out, makes the ocall, copies the answer in."""
    call = "hc_sgx_hot_ocall" if hot else "sgx_ocall"
    lines = [ocall_prototype(interface, ocall), "{"]
    if not needs_ms(ocall):
        return "\n".join([*lines, f"    return {call}({ocall.id}, NULL);", "}", ""])
    struct = f"ms_{ocall.name}_t"
    every = arguments(interface, ocall)
    copied = [argument for argument in every if argument.copied]
    deep = [argument for argument in copied if argument.deep is not None]
    lines += [
        f"    {struct} ms;",
        "    sgx_status_t hc_status;",
        f"    size_t hc_total = sizeof({struct});",
    ]
    for argument in copied:
        lines.append(f"    size_t hc_size_{argument.name} = 0;")
        lines.append(f"    uint8_t *u_{argument.name} = NULL;")
        if argument.deep is not None:
            lines.append(f"    struct hc_deep *hc_held_{argument.name} = NULL;")
    if copied:
        lines.append("    size_t hc_at = 0;")
    if deep:
        lines.append("    uint8_t *u_hc_area = NULL;")
    for argument in copied:
        lines += _measure(argument)
    # The struct ends on 8 bytes too.
    lines += ["    if (!hc_sgx_add(&hc_total, 0))", f"        {_INVALID}"]
    if copied:
        lines.append("    hc_at = hc_total;")
    for argument in copied:
        name = argument.name
        lines += [
            f"    if (!hc_sgx_add(&hc_total, {name} != NULL ? hc_size_{name} : 0))",
            f"        {_INVALID}",
        ]
    for argument in deep:
        lines += _measure_deep(argument)
    lines += [
        f"    {'' if deep else 'uint8_t *'}u_hc_area = (uint8_t *)sgx_ocalloc(hc_total);",
        "    if (u_hc_area == NULL) {",
        *(
            ["        hc_status = SGX_ERROR_UNEXPECTED;", "        goto hc_free;"]
            if deep
            else ["        sgx_ocfree();", "        return SGX_ERROR_UNEXPECTED;"]
        ),
        "    }",
        f"    {struct} *u_ms = ({struct} *)(void *)u_hc_area;",
        "    memset(&ms, 0, sizeof ms);",
    ]
    for argument in every:
        lines += _send(argument)
    lines += [
        "    hc_sgx_write(u_ms, &ms, sizeof ms);",
        f"    hc_status = {call}({ocall.id}, u_ms);",
    ]
    for argument in deep:
        if argument.parameter.direction.comes_out:
            lines += _check_deep(argument)
    answer: list[str] = []
    if not ocall.is_void:
        answer += [
            "        if (retval != NULL)",
            "            hc_sgx_read(retval, &u_ms->ms_retval, sizeof *retval);",
        ]
    for argument in copied:
        if argument.parameter.direction.comes_out:
            answer += _receive(argument)
    if ocall.propagate_errno:
        answer += [
            "        int hc_errno;",
            "        hc_sgx_read(&hc_errno, &u_ms->ocall_errno, sizeof hc_errno);",
            "        errno = hc_errno;",
        ]
    if answer:
        lines += ["    if (hc_status == SGX_SUCCESS) {", *answer, "    }"]
    if deep:
        lines += ["hc_free:", "    sgx_ocfree();"]
        lines += ["hc_end:", *(f"    free(hc_held_{argument.name});" for argument in deep)]
    else:
        lines.append("    sgx_ocfree();")
    return "\n".join([*lines, "    return hc_status;", "}", ""])


def _measure_deep(argument: Argument) -> list[str]:
    """Find what structs point to; from here on the function ends at its label."""
    assert argument.deep is not None
    name = argument.name
    size = f"hc_size_{name}"
    passed = [f"&{deep_table(argument.deep)}", name, size, f"&hc_held_{name}", "&hc_total"]
    return [
        f"    if ({name} != NULL && {size} != 0) {{",
        ctext.invoke("hc_status = hc_deep_measure", passed, indent=8),
        *_unless_success(8),
        "    }",
    ]


def _check_deep(argument: Argument) -> list[str]:
    """Look at structs of the answer; :func:`_receive` takes them when all were good."""
    assert argument.deep is not None
    name = argument.name
    held = f"hc_held_{name}"
    passed = [f"&{deep_table(argument.deep)}", f"hc_size_{name}", f"u_{name}", held]
    return [
        f"    if (hc_status == SGX_SUCCESS && {held} != NULL)",
        ctext.invoke("hc_status = hc_deep_check", passed, indent=8),
    ]


def _measure(argument: Argument) -> list[str]:
    parameter = argument.parameter
    name = parameter.name
    size = f"hc_size_{name}"
    length = ""
    if parameter.string == "string":
        length = f"{name} ? strlen({argument.chars(name)}) + 1u : 0"
    elif parameter.string == "wstring":
        length = f"{name} ? (wcslen({name}) + 1u) * sizeof(wchar_t) : 0"
    lines = _multiply(*argument.size(name, "", length), size)
    if argument.whole_elements:
        lines += [f"    if ({size} % {argument.whole_elements} != 0)", f"        {_INVALID}"]
    return [*lines, f"    CHECK_ENCLAVE_POINTER({name}, {size});"]


def _send(argument: Argument) -> list[str]:
    parameter = argument.parameter
    name = parameter.name
    cast = f"({argument.pointer})" if parameter.dims else ""
    if parameter.direction is Direction.VALUE:
        return [f"    ms.ms_{name} = {name};"]
    if parameter.direction is Direction.USER_CHECK:
        if parameter.isary:
            return [f"    ms.ms_{name} = ({argument.pointer})&{name}[0];"]
        return [f"    ms.ms_{name} = {cast}{name};"]
    size = f"hc_size_{name}"
    lines = [f"    if ({name} != NULL) {{", f"        u_{name} = u_hc_area + hc_at;"]
    lines.append(f"        hc_at += ({size} + 7u) & ~(size_t)7u;")
    if argument.deep is not None:
        held = f"hc_held_{name}"
        passed = [f"&{deep_table(argument.deep)}", f"u_{name}", size, held, "u_hc_area", "&hc_at"]
        lines += [
            f"        if ({held} != NULL)",
            ctext.invoke("hc_deep_send", passed, indent=12),
        ]
    elif parameter.direction.goes_in:
        lines.append(f"        hc_sgx_write(u_{name}, {name}, {size});")
    elif not parameter.nrz:
        lines.append(f"        hc_sgx_zero(u_{name}, {size});")
    const = "const " if argument.const_pointers else ""
    return [*lines, "    }", f"    ms.ms_{name} = ({const}{argument.pointer})(void *)u_{name};"]


def _receive(argument: Argument) -> list[str]:
    name = argument.name
    size = f"hc_size_{name}"
    if argument.deep is not None:
        passed = [f"&{deep_table(argument.deep)}", name, size, f"hc_held_{name}"]
        return [
            f"        if (hc_held_{name} != NULL)",
            ctext.invoke("hc_deep_take", passed, indent=12),
        ]
    lines = [
        f"        if ({name} != NULL) {{",
        f"            hc_sgx_read((void *){name}, u_{name}, {size});",
    ]
    if argument.parameter.string == "string":
        lines.append(f"            {name}[{size} - 1u] = 0;")
    elif argument.parameter.string == "wstring":
        lines.append(f"            {name}[{size} / sizeof(wchar_t) - 1u] = 0;")
    return [*lines, "        }"]
