/* From the datagrams that wait for a peer to events: what each is, and whose stream it is of. */

#include "internal.h"

#include <math.h>
#include <stdlib.h>

/* A packet that is not opened is believed if its sequence number is so near to that of an authentic
 * one, and an authentic one came so lately. */
#define NEAR 1000
#define UNREAD_S 1.0

EXPORT struct peer *peer_new(struct port *port, uint32_t owner)
{
    struct peer *peer = calloc(1, sizeof *peer);

    if (!peer)
        return NULL;
    peer->port = port;
    peer->owner = owner;
    peer->first = peer->last = -1;
    peer->state.last_authentic = -INFINITY;
    return peer;
}

static void stop_waiting(struct peer *peer)
{
    struct peer **link = &peer->port->first_waiting, *before = NULL;

    while (*link && *link != peer) {
        before = *link;
        link = &(*link)->next_waiting;
    }
    if (*link == peer)
        *link = peer->next_waiting;
    if (peer->port->last_waiting == peer)
        peer->port->last_waiting = before;
}

EXPORT void peer_free(struct peer *peer)
{
    stop_waiting(peer);
    forget_paths(peer);
    for (int bucket = 0; bucket < STREAM_BUCKETS; bucket++)
        while (peer->streams[bucket])
            stream_free(peer->streams[bucket]);
    free(peer);
}

EXPORT const struct peer_state *peer_state(const struct peer *peer)
{
    return &peer->state;
}

/* Whether a video packet has to be decrypted. */
static bool must_open(const struct stream *stream, int64_t sequence, double arrival)
{
    return stream->is_read || stream->authentic == NO_SEQUENCE ||
           sequence > stream->authentic + NEAR || sequence < stream->authentic - NEAR ||
           arrival >= stream->state.last_authentic + UNREAD_S;
}

/* An authentic packet of the stream: its extended sequence number. */
static int64_t accept(struct stream *stream, const struct event *packet)
{
    uint32_t roc = 0;

    if (stream->authentic == NO_SEQUENCE && stream->peer->get_roc &&
        stream->peer->get_roc(stream->peer->srtp, stream->ssrc, &roc) == 0)
        stream->authentic = (int64_t)roc << 16 | packet->sequence;
    int64_t sequence = extend_sequence(stream, (uint16_t)packet->sequence);

    if (stream->authentic == NO_SEQUENCE || sequence > stream->authentic)
        stream->authentic = sequence;
    count_packet(stream, sequence, (uint32_t)packet->timestamp, packet->arrival);
    stream->state.last_authentic = packet->arrival;
    return sequence;
}

static void receive_video(struct stream *stream, int32_t index, double now)
{
    struct peer *peer = stream->peer;
    struct slot *slot = &peer->port->slots[index];
    const uint8_t *bytes = slot_bytes(peer->port, index);
    int64_t sequence = extend_sequence(stream, read16(bytes + 2));
    struct event packet;

    if (!slot->is_open && !must_open(stream, sequence, slot->arrival)) {
        count_packet(stream, sequence, read32(bytes + 4), slot->arrival);
        stream->state.unread++;
        return;
    }
    if (!open_slot(peer, stream, index, now, &packet))
        return;
    packet.sequence = accept(stream, &packet);
    if (!stream->is_read) {
        stream->state.unread++;
        return;
    }
    if (stream->asked_from == NO_SEQUENCE || packet.sequence > stream->asked_from) {
        if (stream->asked_from != NO_SEQUENCE)
            miss(stream, stream->asked_from + 1, packet.sequence, now);
        stream->asked_from = packet.sequence;
    } else {
        unmiss(stream, packet.sequence);
    }
    struct event *event = add_event(peer->port, PACKET);

    *event = packet;
    event->kind = PACKET;
    event->track = stream->track;
}

/* Offer a packet of an unknown SSRC: once as refused, if it is, and once as authentic. Whether to stop, for
 * Python to decide. */
static bool offer_unknown(struct peer *peer, int32_t index, double now)
{
    struct port *port = peer->port;
    struct slot *slot = &port->slots[index];
    const uint8_t *bytes = slot_bytes(port, index);
    bool is_second = slot->was_offered;
    bool was_open = slot->is_open;
    int status = decrypt_slot(peer, NULL, index, now);
    struct event packet;

    slot->was_offered = true;
    if (was_open && is_second) {
        peer->state.unassigned++;
        return false;
    }
    if (status != 0 && (is_second || is_repeated(status))) {
        count_refused(peer, status);
        return false;
    }
    if (status != 0) {
        packet = (struct event){.kind = REFUSED, .owner = peer->owner, .arrival = slot->arrival,
                                .ssrc = read32(bytes + 8), .sequence = read16(bytes + 2)};
    } else if (parse_slot(peer, index, &packet)) {
        packet.kind = UNKNOWN;
    } else {
        return false;
    }
    *add_event(port, (enum event_kind)packet.kind) = packet;
    return true;
}

static void add_datagram(struct port *port, enum event_kind kind, uint32_t owner, int32_t index)
{
    struct slot *slot = &port->slots[index];
    struct event *event = add_event(port, kind);

    event->owner = owner;
    event->data = slot_bytes(port, index);
    event->size = slot->length;
    event->path = slot->path;
    event->arrival = slot->arrival;
}

static void add_stranger(struct port *port, int32_t index)
{
    add_datagram(port, STRANGER, 0, index);
    struct event *event = &port->events[port->event_count - 1];

    event->slot = (uint32_t)index;
    event->reading = port->reading;
    event->ssrc = event->size >= HEADER_LENGTH ? read32(event->data + 8) : 0;
}

/* Take in a peer's datagrams; false where Python has to come in before the next one. */
static bool receive_peer(struct peer *peer, double now)
{
    struct port *port = peer->port;

    while (peer->first >= 0) {
        int32_t index = peer->first;
        struct slot *slot = &port->slots[index];
        const uint8_t *bytes = slot_bytes(port, index);
        struct stream *stream;
        struct event packet;

        if (!has_room(port))
            return false;
        if (!slot->is_open && !is_rtp(bytes, slot->length)) {
            peer->first = slot->next;
            add_datagram(port, OTHER, peer->owner, index);
            if (!peer->unprotect) /* it may bring the keys for what follows */
                return false;
            continue;
        }
        stream = find_stream(peer, read32(bytes + 8));
        if (!stream && offer_unknown(peer, index, now))
            return false;
        peer->first = slot->next;
        if (!stream)
            continue;
        if (stream->kind == VIDEO) {
            receive_video(stream, index, now);
        } else if (open_slot(peer, stream, index, now, &packet)) {
            packet.sequence = accept(stream, &packet);
            receive_audio(stream, &packet, now);
        }
    }
    return true;
}

/* Hand out the datagrams of unknown paths, one at a time: Python may find out whose path it is. */
static void receive_strangers(struct port *port)
{
    while (port->first_stranger >= 0) {
        int32_t index = port->first_stranger;
        struct slot *slot = &port->slots[index];
        bool is_media = is_rtp(slot_bytes(port, index), slot->length);
        struct peer *peer = find_peer(port, slot->path);
        bool is_told = slot->was_offered;

        if (!peer && is_media && !is_told) {
            slot->was_offered = true; /* it stays: who adopts it takes it in */
        } else {
            port->first_stranger = slot->next;
            slot->was_offered = false;
        }
        if (peer)
            queue_for(port, peer, index);
        else if (!is_told)
            add_stranger(port, index);
        if (peer || !is_told)
            return;
    }
}

static void do_due(struct port *port, double now)
{
    for (struct stream *each = port->streams; each && has_room(port); each = each->next_of_port) {
        if (each->kind == AUDIO)
            audio_due(each, now);
        if (each->missing_count > 0)
            ask_for_missing(each, now);
    }
}

/* Take in what waits for the peers; false where Python has to come in before the next datagram. */
static bool receive_waiting(struct port *port, double now)
{
    while (port->first_waiting) {
        struct peer *peer = port->first_waiting;

        if (!receive_peer(peer, now))
            return false;
        port->first_waiting = peer->next_waiting;
        if (!port->first_waiting)
            port->last_waiting = NULL;
        peer->is_waiting = false;
    }
    return true;
}

EXPORT uint32_t port_process(struct port *port, double now)
{
    begin_events(port);
    port->now = now;
    do {
        if (!receive_waiting(port, now))
            return port->event_count;
        receive_strangers(port);
    } while (port->first_waiting);
    if (port->event_count == 0)
        do_due(port, now);
    return port->event_count;
}

EXPORT uint32_t peer_flush(struct peer *peer)
{
    struct port *port = peer->port;

    begin_events(port);
    for (int bucket = 0; bucket < STREAM_BUCKETS; bucket++)
        for (struct stream *each = peer->streams[bucket]; each && has_room(port);
             each = each->next_in_bucket)
            if (each->kind == AUDIO)
                flush_audio(each);
    return port->event_count;
}

EXPORT uint32_t stream_flush(struct stream *stream)
{
    struct port *port = stream->peer->port;

    begin_events(port);
    if (stream->kind == AUDIO)
        flush_audio(stream);
    return port->event_count;
}

EXPORT bool peer_adopt(struct peer *peer, uint32_t slot, uint32_t reading)
{
    static _Thread_local uint8_t copy[MAX_DATAGRAM];
    struct port *port = peer->port;

    if (reading != port->reading || slot >= port->used || !peer->unprotect)
        return false;
    struct slot *stranger = &port->slots[slot];
    uint8_t *bytes = slot_bytes(port, (int32_t)slot);
    int length = (int)stranger->length;

    if (stranger->is_open || !is_rtp(bytes, stranger->length) ||
        !find_stream(peer, read32(bytes + 8)))
        return false;
    memcpy(copy, bytes, stranger->length);
    if (open_packet(peer, copy, &length) != 0 || !peer_add_path(peer, stranger->path))
        return false;
    memcpy(bytes, copy, (size_t)length);
    stranger->length = (uint32_t)length;
    stranger->is_open = true;
    fence_slot(port, (int32_t)slot);
    note_authentic(peer, stranger);
    return true;
}
