/* The two ends of a ring of datagrams that is shared between processes; see ring.py. */

#include "native.h"

#include <string.h>

/* Places in `counters`, each of which one side writes and the other reads. */
enum { WRITTEN, SKIPPED, OVERFLOWED, TAKEN };

struct ring {
    uint64_t slot_count;
    uint64_t *counters;
    uint32_t *lengths;
    double *arrivals;           /* seconds of the wall clock */
    uint8_t *names;
    uint8_t *memory;
};

/* libsrtp's srtp_protect: encrypts in place, and makes it longer. */
typedef int protect(void *srtp, void *packet, int *length);

/* One RTP stream that goes into a ring. */
struct outlet {
    protect *protect;
    void *srtp;
    uint8_t name[NAME_BYTES];
    uint32_t ssrc;
    uint16_t sequence;          /* of the next packet */
    uint8_t payload_type;
    uint64_t packets;           /* sent so far, for sender reports; those that were skipped too */
    uint64_t octets;
    uint64_t refused;           /* by libsrtp */
};

/* Units of a stream that are due: Opus packets, or video frames of some packets each. */
struct flight {
    const uint8_t *payloads;    /* one after the other */
    const uint32_t *ends;       /* where each of them ends */
    const uint32_t *unit_ends;  /* the number of the first payload after each unit */
    uint32_t first, count;      /* the units that are sent */
    uint32_t timestamp;         /* of the first unit's packets */
    uint32_t step;              /* from one unit to the next */
    double arrival;             /* of the first unit's packets, seconds of the wall clock */
    double period;              /* from one unit to the next, seconds */
    uint32_t thinned_to;        /* only sequence numbers that are multiples of this are made */
    bool marks_first;           /* the first packet has the marker bit */
    bool marks_ends;            /* the last packet of each unit has it */
};

EXPORT const uint32_t ring_struct_sizes[] = {
    sizeof(struct ring), sizeof(struct outlet), sizeof(struct flight)};

static void write16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void write32(uint8_t *at, uint32_t value)
{
    write16(at, value >> 16);
    write16(at + 2, value);
}

/* Write a packet and encrypt it; its length, or 0 if libsrtp refuses. */
static uint32_t make(uint8_t *slot, struct outlet *outlet, const uint8_t *payload, uint32_t size,
                     uint32_t timestamp, bool is_marked)
{
    int length = (int)(HEADER_LENGTH + size);

    slot[0] = 0x80; /* RFC 3550, 5.1 */
    slot[1] = (uint8_t)(outlet->payload_type | (is_marked ? 0x80 : 0));
    write16(slot + 2, outlet->sequence);
    write32(slot + 4, timestamp);
    write32(slot + 8, outlet->ssrc);
    memcpy(slot + HEADER_LENGTH, payload, size);
    return outlet->protect(outlet->srtp, slot, &length) == 0 ? (uint32_t)length : 0;
}

/* Send some units of a stream, but for what is thinned out (and counted as skipped), refused, or
 * finds no room (and is counted as overflowed). */
EXPORT void put(struct ring *ring, struct outlet *outlet, const struct flight *flight)
{
    uint64_t written = ring->counters[WRITTEN];
    uint64_t taken = __atomic_load_n(&ring->counters[TAKEN], __ATOMIC_ACQUIRE);
    uint32_t unit = flight->first, end = flight->first + flight->count;
    uint32_t payload = unit ? flight->unit_ends[unit - 1] : 0, first = payload;

    for (; payload < flight->unit_ends[end - 1]; payload++, outlet->sequence++) {
        uint32_t start = payload ? flight->ends[payload - 1] : 0;
        uint32_t size = flight->ends[payload] - start;
        uint64_t slot = written % ring->slot_count;

        while (payload >= flight->unit_ends[unit])
            unit++;
        outlet->packets++;
        outlet->octets += size;
        if (outlet->sequence % flight->thinned_to != 0) {
            ring->counters[SKIPPED]++;
            continue;
        }
        if (written - taken >= ring->slot_count) {
            ring->counters[OVERFLOWED]++;
            continue;
        }
        uint32_t number = unit - flight->first;

        ring->lengths[slot] =
            make(ring->memory + slot * SLOT_BYTES, outlet, flight->payloads + start, size,
                 flight->timestamp + number * flight->step,
                 (flight->marks_first && payload == first) ||
                     (flight->marks_ends && payload == flight->unit_ends[unit] - 1));
        if (ring->lengths[slot] == 0) {
            outlet->refused++;
            continue;
        }
        memcpy(ring->names + slot * NAME_BYTES, outlet->name, NAME_BYTES);
        ring->arrivals[slot] = flight->arrival + number * flight->period;
        written++;
    }
    /* Last, so that whoever sees it sees all of the datagrams. */
    __atomic_store_n(&ring->counters[WRITTEN], written, __ATOMIC_RELEASE);
}

/* Fill a batch's empty slots, and say in its size how many there are then. How many wait still. */
EXPORT uint64_t take(struct ring *ring, struct batch *batch)
{
    uint64_t taken = ring->counters[TAKEN];
    uint64_t written = __atomic_load_n(&ring->counters[WRITTEN], __ATOMIC_ACQUIRE);

    for (; taken < written && batch->size < batch->capacity; taken++, batch->size++) {
        uint64_t slot = taken % ring->slot_count, to = batch->size;

        memcpy(batch->memory + to * SLOT_BYTES, ring->memory + slot * SLOT_BYTES,
               ring->lengths[slot]);
        memcpy(batch->names + to * NAME_BYTES, ring->names + slot * NAME_BYTES, NAME_BYTES);
        batch->lengths[to] = ring->lengths[slot];
        batch->arrivals[to] = ring->arrivals[slot];
    }
    __atomic_store_n(&ring->counters[TAKEN], taken, __ATOMIC_RELEASE);
    return written - taken;
}
