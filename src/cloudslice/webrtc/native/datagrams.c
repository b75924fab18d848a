/* The port: datagrams in slots, and the events that they lead to. */

#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>

const uint32_t struct_sizes[] = {sizeof(struct event), sizeof(struct stream_state),
                                 sizeof(struct peer_state), sizeof(struct report)};

#ifdef __SANITIZE_ADDRESS__
/* So that a sanitizer notices what goes beyond it. */
static void *reserve(size_t size)
{
    return calloc(1, size);
}

static void release(void *memory, size_t size)
{
    (void)size;
    free(memory);
}
#else
/* Memory that costs nothing before it is used. */
static void *reserve(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

static void release(void *memory, size_t size)
{
    if (memory)
        munmap(memory, size);
}
#endif

/* Nobody may read behind a slot's datagram, and before the next reading nobody writes there. */
void fence_slot(const struct port *port, int32_t slot)
{
    const struct slot *of = &port->slots[slot];
    uint8_t *memory = port->memory + (size_t)slot * SLOT_BYTES;
    size_t used = of->large ? 0 : of->length;

    FORBID(memory + used, SLOT_BYTES - used);
}

void open_slots(const struct port *port, uint32_t first, uint32_t count)
{
    ALLOW(port->memory + (size_t)first * SLOT_BYTES, (size_t)count * SLOT_BYTES);
}

EXPORT struct port *port_new(uint32_t slots, uint64_t seed)
{
    struct port *port = calloc(1, sizeof *port);

    if (!port)
        return NULL;
    port->capacity = slots;
    port->seed = seed;
    port->first_stranger = port->last_stranger = -1;
    port->drained = -INFINITY;
    port->path_mask = 1023;
    port->path_buckets = calloc(port->path_mask + 1, sizeof *port->path_buckets);
    port->slots = reserve(slots * sizeof *port->slots);
    port->memory = reserve((size_t)slots * SLOT_BYTES);
    port->reader = reserve(reader_bytes);
    port->events = reserve(MAX_EVENTS * sizeof *port->events);
    port->output = reserve(OUTPUT_BYTES);
    if (!port->path_buckets || !port->slots || !port->memory || !port->reader || !port->events ||
        !port->output) {
        port_free(port);
        return NULL;
    }
    return port;
}

EXPORT void port_free(struct port *port)
{
    if (port->slots)
        port_clear(port);
    if (port->memory)
        open_slots(port, 0, port->capacity);
    free(port->path_buckets);
    release(port->slots, port->capacity * sizeof *port->slots);
    release(port->memory, (size_t)port->capacity * SLOT_BYTES);
    release(port->reader, reader_bytes);
    release(port->events, MAX_EVENTS * sizeof *port->events);
    release(port->output, OUTPUT_BYTES);
    free(port);
}

EXPORT const struct event *port_events(const struct port *port)
{
    return port->events;
}

EXPORT uint64_t port_datagrams(const struct port *port)
{
    return port->datagrams;
}

EXPORT void port_clear(struct port *port)
{
    for (uint32_t slot = 0; slot < port->used; slot++) {
        free(port->slots[slot].large);
        port->slots[slot].large = NULL;
    }
    port->used = 0;
    port->reading++;
}

void queue_for(struct port *port, struct peer *peer, int32_t slot)
{
    int32_t *first = peer ? &peer->first : &port->first_stranger;
    int32_t *last = peer ? &peer->last : &port->last_stranger;

    port->slots[slot].next = -1;
    if (*first < 0)
        *first = slot;
    else
        port->slots[*last].next = slot;
    *last = slot;
    if (!peer || peer->is_waiting)
        return;
    peer->is_waiting = true;
    peer->next_waiting = NULL;
    if (port->last_waiting)
        port->last_waiting->next_waiting = peer;
    else
        port->first_waiting = peer;
    port->last_waiting = peer;
}

/* The next slot has a datagram. */
void queue_slot(struct port *port)
{
    int32_t slot = (int32_t)port->used++;

    port->datagrams++;
    port->slots[slot].is_open = port->slots[slot].was_offered = false;
    fence_slot(port, slot);
    queue_for(port, find_peer(port, port->slots[slot].path), slot);
}

EXPORT bool port_put(struct port *port, const uint8_t *datagram, uint32_t length,
                     const uint8_t *path, double arrival)
{
    if (port->used == port->capacity || length > MAX_DATAGRAM)
        return false;
    struct slot *slot = &port->slots[port->used];

    open_slots(port, port->used, 1);
    slot->large = NULL;
    if (length > SLOT_BYTES && !(slot->large = malloc(length)))
        return false;
    memcpy(slot_bytes(port, (int32_t)port->used), datagram, length);
    memcpy(slot->path, path, PATH_BYTES);
    slot->length = length;
    slot->arrival = arrival;
    queue_slot(port);
    return true;
}

void begin_events(struct port *port)
{
    port->event_count = port->output_used = 0;
}

bool has_room(const struct port *port)
{
    return port->event_count + EVENTS_OF_ONE <= MAX_EVENTS &&
           port->output_used + BYTES_OF_ONE <= OUTPUT_BYTES;
}

struct event *add_event(struct port *port, enum event_kind kind)
{
    struct event *event = &port->events[port->event_count++];

    *event = (struct event){.kind = (uint8_t)kind};
    return event;
}

uint8_t *copy_out(struct port *port, const void *bytes, uint32_t size)
{
    uint8_t *place = port->output + port->output_used;

    memcpy(place, bytes, size);
    port->output_used += (size + 7) & ~7u;
    return place;
}
