/* Many datagrams in one system call, each source's together. */

#include "native.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* recvmmsg takes no more at a time. */
#define CALL_LIMIT 1024

/* Bytes of a sockaddr_in6, the longest name. */
#define NAME_LENGTH 28

const uint32_t struct_sizes[] = {sizeof(struct item), sizeof(struct batch),   sizeof(struct stream),
                                 sizeof(struct peer), sizeof(struct mmsghdr), sizeof(struct iovec)};

static void offer_slot(struct batch *batch, uint32_t slot)
{
    struct msghdr *header = &batch->messages[slot].msg_hdr;

    /* What the kernel put here the last time, it would take for what it may use. */
    header->msg_namelen = NAME_BYTES;
    header->msg_controllen = CONTROL_BYTES;
}

EXPORT void prepare(struct batch *batch)
{
    for (uint32_t slot = 0; slot < batch->capacity; slot++) {
        struct msghdr *header = &batch->messages[slot].msg_hdr;

        batch->vectors[slot].iov_base = batch->memory + (size_t)slot * SLOT_BYTES;
        batch->vectors[slot].iov_len = MAX_PACKET;
        header->msg_name = batch->names + (size_t)slot * NAME_BYTES;
        header->msg_iov = &batch->vectors[slot];
        header->msg_iovlen = 1;
        header->msg_control = batch->controls + (size_t)slot * CONTROL_BYTES;
        offer_slot(batch, slot);
    }
    clear(batch);
}

/* A power of two, and more than twice as many as there can be groups. */
static uint32_t count_buckets(const struct batch *batch)
{
    uint32_t count = 2;

    while (count < 2 * batch->capacity)
        count *= 2;
    return count;
}

EXPORT void clear(struct batch *batch)
{
    memset(batch->buckets, 0xFF, count_buckets(batch) * sizeof *batch->buckets);
    batch->size = batch->grouped = batch->group_count = 0;
    batch->opened = -1;
}

/* Wall clock second of SO_TIMESTAMPNS; infinitely late if the kernel gave none. */
static double arrival_of(struct msghdr *header)
{
    for (struct cmsghdr *each = CMSG_FIRSTHDR(header); each; each = CMSG_NXTHDR(header, each)) {
        if (each->cmsg_level == SOL_SOCKET && each->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec stamp;

            memcpy(&stamp, CMSG_DATA(each), sizeof stamp);
            return (double)stamp.tv_sec + (double)stamp.tv_nsec * 1e-9;
        }
    }
    return __builtin_inf();
}

EXPORT int fill(struct batch *batch, int descriptor)
{
    uint32_t start = batch->size;

    while (batch->size < batch->capacity) {
        uint32_t room = batch->capacity - batch->size;
        uint32_t limit = room < CALL_LIMIT ? room : CALL_LIMIT;
        struct mmsghdr *first = &batch->messages[batch->size];
        int got = recvmmsg(descriptor, first, limit, MSG_DONTWAIT, NULL);

        if (got < 0)
            return errno == EAGAIN || batch->size > start ? 0 : -errno;
        for (uint32_t end = batch->size + (uint32_t)got; batch->size < end; batch->size++) {
            struct mmsghdr *message = &batch->messages[batch->size];

            batch->lengths[batch->size] = message->msg_len;
            batch->arrivals[batch->size] = arrival_of(&message->msg_hdr);
            offer_slot(batch, batch->size);
        }
        if ((uint32_t)got < limit)
            return 0;
    }
    return 1;
}

static uint32_t hash(const uint8_t *name, uint32_t seed)
{
    uint32_t value = 2166136261u ^ seed; /* FNV-1a */

    for (int index = 0; index < NAME_LENGTH; index++)
        value = (value ^ name[index]) * 16777619u;
    return value ^ value >> 15;
}

/* The bucket of the slot's source: its group's, or the empty one where it belongs. */
static int32_t *find_bucket(struct batch *batch, uint32_t slot, uint32_t mask)
{
    const uint8_t *name = batch->names + (size_t)slot * NAME_BYTES;
    uint32_t at = hash(name, batch->seed) & mask;

    for (;; at = (at + 1) & mask) {
        int32_t found = batch->buckets[at];

        if (found < 0 ||
            !memcmp(batch->names + (size_t)batch->last[found] * NAME_BYTES, name, NAME_LENGTH))
            return &batch->buckets[at];
    }
}

/* RFC 7983: the first bytes of STUN, ZRTP and DTLS are below. */
#define FIRST_NO_SIGNALLING 64

/* Datagrams of several processors may be out of order by as much. */
#define DISORDER_S 0.05

/* The monotonic seconds of wall clock seconds, which come in the order of time. */
struct conversion {
    double now;
    double last;                /* no datagram came before */
    double since_wall;          /* as it is now... */
    double assumed_since_wall;  /* ...and when the next datagram came, as far as is known */
};

static double to_monotonic(struct conversion *conversion, double wall)
{
    double arrival = wall + conversion->assumed_since_wall;
    double by_now = wall + conversion->since_wall;
    double earliest = conversion->last - DISORDER_S;

    /* A wall clock that was set forward makes a leap between two datagrams, and one that was set
     * back makes the later one the earlier. */
    if (by_now < arrival ? by_now >= earliest : arrival < earliest) {
        conversion->assumed_since_wall = conversion->since_wall;
        arrival = by_now;
    }
    if (arrival < conversion->last)
        arrival = conversion->last;
    if (!(arrival < conversion->now))
        arrival = conversion->now;
    conversion->last = arrival;
    return arrival;
}

EXPORT void group(struct batch *batch, double now, double oldest, double former_since_wall,
                  double since_wall)
{
    uint32_t mask = count_buckets(batch) - 1;
    struct conversion conversion = {now, oldest, since_wall, former_since_wall};

    batch->opened = -1;
    for (; batch->grouped < batch->size; batch->grouped++) {
        int32_t slot = (int32_t)batch->grouped;
        int32_t *bucket = find_bucket(batch, batch->grouped, mask);

        batch->arrivals[slot] = to_monotonic(&conversion, batch->arrivals[slot]);
        batch->next[slot] = -1;
        if (*bucket < 0) {
            *bucket = (int32_t)batch->group_count++;
            batch->groups[*bucket] = -1;
        }
        if (batch->groups[*bucket] < 0) {
            batch->groups[*bucket] = slot;
            batch->has_signalling[*bucket] = false;
        } else {
            batch->next[batch->last[*bucket]] = slot;
        }
        batch->last[*bucket] = slot;
        if (batch->lengths[slot] > 0 && batch->memory[(size_t)slot * SLOT_BYTES] < FIRST_NO_SIGNALLING)
            batch->has_signalling[*bucket] = true;
    }
}
