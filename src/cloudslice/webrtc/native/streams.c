/* What every stream has: sequence numbers, statistics, and what is missing. */

#include "internal.h"

#include <math.h>
#include <stdlib.h>

/* A missing packet may only be late: it is asked for when it is missing so long. */
#define FIRST_ASK_S 0.02
/* It is asked for again after a round trip, and some. */
#define ASK_AGAIN_S 0.1

static struct stream **bucket_of(struct peer *peer, uint32_t ssrc)
{
    return &peer->streams[(ssrc * 0x9E3779B1u) >> 28 & (STREAM_BUCKETS - 1)];
}

struct stream *find_stream(const struct peer *peer, uint32_t ssrc)
{
    struct stream *stream = *bucket_of((struct peer *)(uintptr_t)peer, ssrc);

    while (stream && stream->ssrc != ssrc)
        stream = stream->next_in_bucket;
    return stream;
}

EXPORT struct stream *stream_new(struct peer *peer, uint32_t ssrc, uint32_t track,
                                 enum stream_kind kind, uint32_t clock_rate,
                                 const uint8_t *payload_types, uint32_t attempts, double patience,
                                 uint8_t level_id)
{
    struct port *port = peer->port;
    struct stream **bucket = bucket_of(peer, ssrc);
    struct stream *stream = find_stream(peer, ssrc) ? NULL : calloc(1, sizeof *stream);

    if (!stream)
        return NULL;
    stream->peer = peer;
    stream->ssrc = ssrc;
    stream->track = track;
    stream->kind = kind;
    stream->clock_rate = clock_rate;
    stream->attempts = attempts;
    stream->patience = patience;
    stream->level_id = level_id;
    if (payload_types)
        memcpy(stream->payload_types, payload_types, sizeof stream->payload_types);
    stream->state.last_arrival = stream->state.last_authentic = -INFINITY;
    stream->state.highest = stream->last_timestamp = -1;
    stream->authentic = stream->asked_from = stream->expected = NO_SEQUENCE;
    stream->media_timestamp = INT64_MIN;
    stream->roc_tried = -INFINITY;
    stream->next_in_bucket = *bucket;
    *bucket = stream;
    stream->next_of_port = port->streams;
    stream->link_of_port = &port->streams;
    if (port->streams)
        port->streams->link_of_port = &stream->next_of_port;
    port->streams = stream;
    return stream;
}

EXPORT void stream_free(struct stream *stream)
{
    struct stream **link = bucket_of(stream->peer, stream->ssrc);

    while (*link != stream)
        link = &(*link)->next_in_bucket;
    *link = stream->next_in_bucket;
    *stream->link_of_port = stream->next_of_port;
    if (stream->next_of_port)
        stream->next_of_port->link_of_port = stream->link_of_port;
    free_audio(stream);
    free(stream);
}

EXPORT const struct stream_state *stream_state(const struct stream *stream)
{
    return &stream->state;
}

EXPORT int64_t stream_timestamp(const struct stream *stream)
{
    return stream->media_timestamp;
}

EXPORT void stream_read(struct stream *stream, bool is_read)
{
    stream->is_read = is_read;
    stream->missing_count = 0;
    /* What went unread before is not missed. */
    stream->asked_from = stream->state.highest >= 0 ? stream->state.highest : NO_SEQUENCE;
}

int64_t extend_sequence(const struct stream *stream, uint16_t sequence)
{
    if (stream->authentic == NO_SEQUENCE)
        return sequence;
    int64_t nearest = stream->authentic + (int16_t)(uint16_t)(sequence - (uint16_t)stream->authentic);

    return nearest < 0 ? nearest + 0x10000 : nearest; /* no roll-over counter is below 0 */
}

void count_packet(struct stream *stream, int64_t sequence, uint32_t timestamp, double arrival)
{
    struct stream_state *state = &stream->state;

    if (state->received == 0)
        stream->base = state->highest = sequence;
    state->received++;
    if (sequence > state->highest)
        state->highest = sequence;
    state->last_arrival = arrival;
    if (timestamp == stream->last_timestamp) /* the packets of a frame follow each other at once */
        return;
    double transit = arrival * stream->clock_rate - timestamp;
    double difference = fabs(transit - stream->transit);

    /* Not where the 32 bits wrap. */
    if (stream->last_timestamp >= 0 && difference < stream->clock_rate)
        stream->jitter += (difference - stream->jitter) / 16;
    stream->last_timestamp = timestamp;
    stream->transit = transit;
}

EXPORT bool stream_report(struct stream *stream, struct report *report)
{
    const struct stream_state *state = &stream->state;

    if (state->received == 0)
        return false;
    int64_t expected = state->highest - stream->base + 1;
    int64_t expected_now = expected - stream->expected_before;
    int64_t lost_now = expected_now - (state->received - stream->received_before);

    stream->expected_before = expected;
    stream->received_before = state->received;
    *report = (struct report){
        .highest = state->highest,
        .packets_lost = expected - state->received,
        .jitter = (uint32_t)stream->jitter,
    };
    if (lost_now > 0 && expected_now > 0) {
        int64_t fraction = lost_now * 256 / expected_now;

        report->fraction_lost = fraction < 255 ? (uint32_t)fraction : 255;
    }
    return true;
}

void miss(struct stream *stream, int64_t first, int64_t end, double now)
{
    if (end - first > MAX_MISSING - (int64_t)stream->missing_count) {
        stream->state.given_up += (uint64_t)(end - first) + stream->missing_count;
        stream->missing_count = 0;
        return;
    }
    for (int64_t sequence = first; sequence < end; sequence++)
        stream->missing[stream->missing_count++] =
            (struct missing){.sequence = sequence, .next_ask = now + FIRST_ASK_S};
}

void unmiss(struct stream *stream, int64_t sequence)
{
    for (uint32_t each = 0; each < stream->missing_count; each++) {
        if (stream->missing[each].sequence == sequence) {
            stream->missing_count--;
            memmove(&stream->missing[each], &stream->missing[each + 1],
                    (stream->missing_count - each) * sizeof stream->missing[0]);
            return;
        }
    }
}

void unmiss_before(struct stream *stream, int64_t sequence)
{
    uint32_t kept = 0;

    for (uint32_t each = 0; each < stream->missing_count; each++)
        if (stream->missing[each].sequence >= sequence)
            stream->missing[kept++] = stream->missing[each];
    stream->missing_count = kept;
}

void ask_for_missing(struct stream *stream, double now)
{
    int64_t asked[MAX_MISSING];
    uint32_t count = 0, kept = 0;

    for (uint32_t each = 0; each < stream->missing_count; each++) {
        struct missing one = stream->missing[each];

        if (one.next_ask <= now && one.asked == stream->attempts) {
            stream->state.given_up++;
            continue;
        }
        if (one.next_ask <= now) {
            asked[count++] = one.sequence;
            one.asked++;
            one.next_ask = now + ASK_AGAIN_S;
        }
        stream->missing[kept++] = one;
    }
    stream->missing_count = kept;
    if (count == 0)
        return;
    struct port *port = stream->peer->port;
    struct event *event = add_event(port, MISSING);

    event->owner = stream->peer->owner;
    event->track = stream->track;
    event->count = count;
    event->sizes = copy_out(port, asked, count * (uint32_t)sizeof asked[0]);
}
