/* Reading many datagrams in one system call, and sending one. */

#include "internal.h"

#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

/* Datagrams of a system call, each of which may be as long as UDP allows. */
#define CALL_LIMIT 64

/* A timestamp of the kernel, and the address that a datagram came to. */
#define CONTROL_BYTES                                                                              \
    (CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(sizeof(struct in6_pktinfo)))

/* Clocks are read some microseconds apart. */
#define CLOCK_SLACK_S 0.001

/* What a system call reads into: a slot, and the rest of a long datagram. */
struct reader {
    struct mmsghdr messages[CALL_LIMIT];
    struct iovec vectors[CALL_LIMIT][2];
    _Alignas(struct cmsghdr) uint8_t controls[CALL_LIMIT][CONTROL_BYTES];
    uint8_t rest[CALL_LIMIT][MAX_DATAGRAM - SLOT_BYTES];
};

const size_t reader_bytes = sizeof(struct reader);

static void offer_slots(struct port *port, uint32_t count)
{
    struct reader *reader = port->reader;

    open_slots(port, port->used, count);
    for (uint32_t each = 0; each < count; each++) {
        uint32_t slot = port->used + each;

        reader->vectors[each][0] =
            (struct iovec){port->memory + (size_t)slot * SLOT_BYTES, SLOT_BYTES};
        reader->vectors[each][1] =
            (struct iovec){reader->rest[each], sizeof reader->rest[each]};
        memset(port->slots[slot].path, 0, PATH_BYTES);
        reader->messages[each].msg_hdr = (struct msghdr){
            .msg_name = port->slots[slot].path,
            .msg_namelen = sizeof(struct sockaddr_in6),
            .msg_iov = reader->vectors[each],
            .msg_iovlen = 2,
            .msg_control = reader->controls[each],
            .msg_controllen = CONTROL_BYTES,
        };
    }
}

/* Take the wall clock second of the kernel's timestamp and the local address from what came with a
 * datagram; infinity if there is no timestamp. */
static double read_controls(struct msghdr *header, uint8_t *path)
{
    uint8_t *local = path + sizeof(struct sockaddr_in6);
    double wall = INFINITY;

    for (struct cmsghdr *each = CMSG_FIRSTHDR(header); each; each = CMSG_NXTHDR(header, each)) {
        if (each->cmsg_level == SOL_SOCKET && each->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec stamp;

            memcpy(&stamp, CMSG_DATA(each), sizeof stamp);
            wall = (double)stamp.tv_sec + (double)stamp.tv_nsec * 1e-9;
        } else if (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;

            memcpy(&info, CMSG_DATA(each), sizeof info);
            memcpy(local, &info.ipi_spec_dst, sizeof info.ipi_spec_dst);
        } else if (each->cmsg_level == IPPROTO_IPV6 && each->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;

            memcpy(&info, CMSG_DATA(each), sizeof info);
            memcpy(local, &info.ipi6_addr, sizeof info.ipi6_addr);
        }
    }
    return wall;
}

/* The monotonic second of a wall clock second, between the socket's last emptiness and now. Where the
 * wall clock has stepped since then, a datagram may have its time from before or from after. */
static double to_monotonic(const struct port *port, double wall, double now, double since_wall)
{
    double oldest = port->drained - CLOCK_SLACK_S;
    double arrival = wall + since_wall;
    double before_step = wall + port->since_wall;

    if (arrival >= oldest && arrival <= now + CLOCK_SLACK_S)
        return arrival < now ? arrival : now;
    if (before_step >= oldest && before_step <= now)
        return before_step;
    return arrival < oldest ? oldest : now;
}

/* Give a datagram that is longer than a slot memory of its own; false if there is none. */
static bool keep_rest(struct port *port, uint32_t slot, const uint8_t *rest, uint32_t length)
{
    uint8_t *large = malloc(length);

    if (!large)
        return false;
    memcpy(large, port->memory + (size_t)slot * SLOT_BYTES, SLOT_BYTES);
    memcpy(large + SLOT_BYTES, rest, length - SLOT_BYTES);
    port->slots[slot].large = large;
    return true;
}

static void take_message(struct port *port, uint32_t index, double now, double since_wall)
{
    struct reader *reader = port->reader;
    struct mmsghdr *message = &reader->messages[index];
    struct slot *slot = &port->slots[port->used];
    /* The message stands `index` slots behind the first one of its call; those that were not kept
     * leave a place free. */
    uint8_t *bytes = reader->vectors[index][0].iov_base;
    uint8_t *place = port->memory + (size_t)port->used * SLOT_BYTES;

    if (bytes != place) {
        memmove(place, bytes, SLOT_BYTES);
        memmove(slot->path, message->msg_hdr.msg_name, PATH_BYTES);
    }
    double wall = read_controls(&message->msg_hdr, slot->path);

    slot->large = NULL;
    slot->length = message->msg_len;
    slot->arrival = to_monotonic(port, wall, now, since_wall);
    if (slot->length <= SLOT_BYTES || keep_rest(port, port->used, reader->rest[index], slot->length))
        queue_slot(port);
}

EXPORT int port_read(struct port *port, int descriptor, double now, double since_wall)
{
    int status = 1;
    uint32_t start = port->used;

    if (port->drained == -INFINITY)
        port->since_wall = since_wall;
    while (status == 1 && port->used < port->capacity) {
        uint32_t room = port->capacity - port->used;
        uint32_t limit = room < CALL_LIMIT ? room : CALL_LIMIT;

        offer_slots(port, limit);
        int got = recvmmsg(descriptor, port->reader->messages, limit, MSG_DONTWAIT, NULL);

        if (got < 0)
            status = errno == EAGAIN || port->used > start ? 0 : -errno;
        for (uint32_t index = 0; got > 0 && index < (uint32_t)got; index++)
            take_message(port, index, now, since_wall);
        if (got >= 0 && (uint32_t)got < limit)
            status = 0;
    }
    return status;
}

EXPORT void port_drained(struct port *port, double now, double since_wall)
{
    port->drained = now;
    port->since_wall = since_wall;
}

EXPORT int send_on_path(int descriptor, const uint8_t *path, const uint8_t *datagram,
                        uint32_t length)
{
    static const uint8_t nowhere[16];
    const uint8_t *local = path + sizeof(struct sockaddr_in6);
    uint8_t name[sizeof(struct sockaddr_in6)];
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = {0};
    struct iovec vector = {(void *)(uintptr_t)datagram, length};
    struct msghdr message = {.msg_name = name, .msg_iov = &vector, .msg_iovlen = 1};
    struct cmsghdr *header = (struct cmsghdr *)control;
    sa_family_t family;

    memcpy(name, path, sizeof name);
    memcpy(&family, path, sizeof family);
    bool is_ipv6 = family == AF_INET6;

    message.msg_namelen = is_ipv6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (memcmp(local, nowhere, sizeof nowhere) != 0) {
        size_t size = is_ipv6 ? sizeof(struct in6_pktinfo) : sizeof(struct in_pktinfo);
        struct in6_pktinfo info6 = {0};
        struct in_pktinfo info4 = {0};

        memcpy(&info6.ipi6_addr, local, sizeof info6.ipi6_addr);
        memcpy(&info4.ipi_spec_dst, local, sizeof info4.ipi_spec_dst);
        header->cmsg_level = is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP;
        header->cmsg_type = is_ipv6 ? IPV6_PKTINFO : IP_PKTINFO;
        header->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(header), is_ipv6 ? (void *)&info6 : (void *)&info4, size);
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(size);
    }
    return sendmsg(descriptor, &message, MSG_DONTWAIT) < 0 ? -errno : 0;
}
