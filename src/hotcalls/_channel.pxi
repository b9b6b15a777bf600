# SPDX-License-Identifier: Apache-2.0
# Channels apart from an enclave: made for clients of a server, and read by who only watches.
# Included by _native.pyx.

PLACE_FREE = HC_PLACE_FREE
PLACE_SERVING = HC_PLACE_SERVING
PLACE_ENDING = HC_PLACE_ENDING
ATTACH = HC_CLIENTS_ATTACH
DETACH = HC_CLIENTS_DETACH


def new_channel(dict options):
    """Make a channel of the shape that launch options say; return a descriptor and its geometry."""
    cdef hc_launch_options launch
    cdef hc_geometry geometry
    cdef hc_error error
    cdef hc_status status
    cdef int channel
    _launch_options(&launch, options)
    status = hc_channel_new(&launch, &channel, &geometry, &error)
    if status != HC_OK:
        raise NativeError(STATUS_NAMES[<int>status],
                          (<bytes>error.text).decode("utf-8", "replace"), error.error)
    return channel, PyBytes_FromStringAndSize(<const char *>&geometry, sizeof(geometry))


def wipe_channel(int channel, bytes geometry):
    """Make a used channel a new one; False, with its memory as it was, when that fails."""
    cdef hc_geometry copy
    if len(geometry) != sizeof(copy):
        raise ValueError("not the geometry of a channel")
    memcpy(&copy, <const char *>geometry, sizeof(copy))
    return bool(hc_channel_wipe(channel, &copy))


def read_channel(int channel):
    """Read the statistics of a channel from its descriptor, which may be of anything.

    Returns a dict as :meth:`Enclave.counters` with ``"latency"``: for each direction the histograms
    of the functions that were called, as ``(id, count, max_cycles, [buckets])``. Raises ValueError
    for what is no channel. Nothing is mapped, so nobody can pull it away under us.
    """
    cdef hc_geometry g
    cdef const hc_header *header
    cdef const hc_slot_control *control
    cdef const hc_histogram *histogram
    cdef uint32_t slot
    cdef bytes data = _os.pread(channel, sizeof(g), 0)
    if len(data) != sizeof(g):
        raise ValueError("not a channel")
    memcpy(&g, <const char *>data, sizeof(g))
    if hc_geometry_check(&g, _os.fstat(channel).st_size) != HC_OK:
        raise ValueError("not a channel of this version of hotcalls")
    data = _read_whole(channel, sizeof(hc_header), 0)
    header = <const hc_header *><const char *>data
    boards = [_board(&header.board[side]) for side in range(2)]
    ecalls = _zero_counters()
    ocalls = _zero_counters()
    for slot in range(g.slot_count):
        data = _read_whole(channel, sizeof(hc_slot_control), g.slots_at + g.slot_stride * slot)
        control = <const hc_slot_control *><const char *>data
        mine, theirs = (ecalls, ocalls) if slot < g.host_slots else (ocalls, ecalls)
        _add_counters(mine, &control.owner_counters)
        _add_counters(mine, &control.nested_counters)
        _add_counters(theirs, &control.peer_counters)
    data = _read_whole(channel, 2 * HC_HISTOGRAMS * sizeof(hc_histogram), g.histograms_at)
    histogram = <const hc_histogram *><const char *>data
    latency = ([], [])
    for side in range(2):
        for id_ in range(HC_HISTOGRAMS):
            if histogram.count:
                latency[side].append((id_, histogram.count, histogram.max_cycles,
                                      [histogram.buckets[i] for i in range(HC_BUCKETS)]))
            histogram += 1
    return {"ecalls": ecalls, "ocalls": ocalls, "host": boards[0], "enclave": boards[1],
            "latency": latency}


import os as _os


cdef bytes _read_whole(int channel, size_t size, uint64_t at):
    data = _os.pread(channel, size, at)
    if len(data) != size:
        raise ValueError("not a channel")
    return data


cdef dict _board(const hc_side_board *board):
    return {
        "awake": hc_untrusted_u32(&board.awake),
        "responders": hc_untrusted_u32(&board.responders),
        "companions": hc_untrusted_u32(&board.threads),
        "sleeps": hc_untrusted_u64(&board.sleeps),
        "wakes": hc_untrusted_u64(&board.wakes),
        "stolen": hc_untrusted_u64(&board.stolen),
        "served": hc_untrusted_u64(&board.served),
        "switched": hc_untrusted_u64(&board.switched),
    }
