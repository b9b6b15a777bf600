# SPDX-License-Identifier: Apache-2.0
# What of hotcalls_host.h the extension uses. Included by _native.pyx; the C compiler checks it
# against the header.

cdef extern from "<stdbool.h>" nogil:
    ctypedef int c_bool "bool"

cdef extern from "python_clients.h" nogil:
    enum: HC_CLIENTS_ATTACH
    enum: HC_CLIENTS_DETACH
    enum: HC_PLACE_FREE
    enum: HC_PLACE_SERVING
    enum: HC_PLACE_ENDING
    struct hc_clients_message:
        uint32_t what
        uint32_t place
        uint64_t generation

cdef extern from "host_program.h" nogil:
    enum: HC_INLINE_SIZE
    enum: HC_FN_PUBLIC
    enum: HC_FN_HOT
    enum: HC_ABI
    enum: HC_LANES
    enum: HC_BUCKETS
    enum: HC_BUCKET_FIRST_SHIFT
    enum: HC_HISTOGRAMS
    enum: HC_SAMPLE_EVERY
    cdef enum hc_status:
        HC_OK
        HC_ERR_ARGUMENT
        HC_ERR_MEMORY
        HC_ERR_MESSAGE
        HC_ERR_INTERRUPTED
        HC_ERR_INTERFACE
        HC_ERR_CALLEE
        HC_ERR_OS
        HC_ERR_AGAIN
        HC_ERR_CLOSED
        HC_ERR_PEER_LOST
        HC_ERR_POISONED
        HC_ERR_TOO_LARGE
        HC_ERR_ONEWAY
    cdef enum hc_mode:
        HC_MODE_DEFAULT
    cdef enum hc_side:
        HC_HOST
        HC_ENCLAVE
    ctypedef struct hc_enclave:
        pass
    struct hc_end:
        pass
    struct hc_port:
        uint32_t mode
        uint64_t timeout
    struct hc_frame:
        hc_port *port
        uint8_t *u_message
        uint32_t size
        uint32_t id
        uint8_t *payload
    struct hc_call:
        hc_port *port
        uint64_t n
    ctypedef hc_status hc_bridge(hc_frame *frame) noexcept nogil
    struct hc_function:
        const char *name
        hc_bridge *bridge
        uint32_t flags
        const uint64_t *allow
    struct hc_interface:
        uint32_t abi
        uint32_t ecall_count
        uint32_t ocall_count
        uint8_t *digest
        const char *name
        const hc_function *ecalls
        const hc_function *ocalls
    struct hc_error:
        hc_status status
        int error
        int signal
        int exit_status
        char *text
    struct hc_program:
        char **argv
        const int *fds
        size_t fd_count
        bint by_path
        hc_status (*described)(void *context, c_bool ready, const uint8_t *bytes, size_t size,
                               const hc_interface **interface) noexcept nogil
        void *context
    struct hc_launch_options:
        const char *path
        const void *image
        size_t image_size
        const char *loader
        const hc_interface *interface
        bint any_interface
        void *user_data
        hc_mode mode
        uint32_t responders
        uint32_t ocall_responders
        uint32_t slots
        uint32_t enclave_slots
        uint32_t cells
        uint64_t window_size
        uint64_t shared_size
        uint32_t idle_us
        uint32_t spin_us
        uint32_t take_us
        uint32_t timeout_ms
        uint32_t user
        uint32_t group
        int log_fd
        bint insecure_debug
        bint insecure_user_namespace
        c_bool (*interrupted)(void *context) noexcept nogil
        const hc_program *program
    struct hc_geometry:
        uint64_t total_size
        uint32_t slot_count
        uint32_t host_slots
        uint32_t cell_count
        uint64_t window_size
        uint64_t slots_at
        uint64_t slot_stride
        uint64_t histograms_at
        uint64_t shared_at
        uint64_t shared_size
    struct hc_counters:
        uint64_t hot
        uint64_t switched
        uint64_t fallen_back
        uint64_t withdrawn
        uint64_t oneway
        uint64_t slept
        uint64_t rang
        uint64_t bytes_out
        uint64_t bytes_in
        uint64_t errors
    struct hc_slot_control:
        hc_counters owner_counters
        hc_counters peer_counters
        hc_counters nested_counters
    struct hc_histogram:
        uint64_t count
        uint64_t max_cycles
        uint32_t *buckets
    struct hc_side_board:
        uint32_t awake
        uint32_t responders
        uint32_t threads
        uint64_t sleeps
        uint64_t wakes
        uint64_t stolen
        uint64_t served
        uint64_t switched
    struct hc_header:
        hc_side_board *board
    const char *hc_status_text(hc_status status)
    void hc_launch_defaults(hc_launch_options *options)
    hc_status hc_launch(const hc_launch_options *options, hc_enclave **enclave, hc_error *error)
    void hc_shutdown(hc_enclave *enclave)
    void hc_close(hc_enclave *enclave)
    hc_port *hc_host_port(hc_enclave *enclave)
    hc_status hc_host_port_error(hc_enclave *enclave)
    hc_status hc_set_mode(hc_enclave *enclave, uint32_t id, hc_mode mode)
    hc_status hc_why(hc_enclave *enclave, hc_error *error)
    void *hc_user_data(const hc_port *port)
    void *hc_shared_alloc(hc_enclave *enclave, size_t size)
    void hc_shared_free(hc_enclave *enclave, void *pointer)
    int hc_pid(const hc_enclave *enclave)
    void hc_wake_responders(hc_enclave *enclave)
    const hc_geometry *hc_region(const hc_enclave *enclave, const uint8_t **u_base)
    uint64_t hc_cycles_per_us()
    hc_status hc_call_begin(hc_port *port, hc_call *call, uint32_t id, size_t ms, size_t buffers)
    size_t hc_call_inout(hc_call *call, const void *buffer, size_t size)
    hc_status hc_call_run(hc_call *call, void *ms, size_t ms_size)
    hc_status hc_call_submit(hc_call *call, const void *ms, size_t ms_size)
    hc_status hc_call_oneway(hc_call *call, const void *ms, size_t ms_size)
    bint hc_call_poll(const hc_call *call)
    hc_status hc_call_wait(hc_call *call, void *ms, size_t ms_size)
    hc_status hc_call_copy_out(hc_call *call, size_t position, void *buffer, size_t size)
    void hc_call_end(hc_call *call)
    void hc_batch_begin(hc_port *port)
    void hc_batch_end(hc_port *port)
    hc_status hc_flush(hc_port *port, uint64_t *errors, hc_status *first)
    void hc_copy_in(void *destination, const void *u_source, size_t size)
    void hc_copy_out(void *u_destination, const void *source, size_t size)
    bint hc_range_inside(uint64_t offset, uint64_t size, uint64_t limit)
    uint64_t hc_untrusted_u64(const uint64_t *u_field)
    uint32_t hc_untrusted_u32(const uint32_t *u_field)
    hc_status hc_geometry_check(const hc_geometry *g, uint64_t mapped_size)

cdef extern from "host_attach.h" nogil:
    struct hc_attachment:
        int channel
        int done
        int process
        int pid
    hc_status hc_attach(const hc_launch_options *options, const hc_attachment *attachment,
                        hc_enclave **enclave, hc_error *error)
    hc_status hc_channel_new(const hc_launch_options *options, int *channel,
                             hc_geometry *geometry, hc_error *error)
    c_bool hc_channel_wipe(int channel, const hc_geometry *geometry)
    int hc_channel(const hc_enclave *enclave)
