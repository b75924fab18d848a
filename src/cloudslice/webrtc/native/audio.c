/* Opus packets: in order, each once, joined to runs. */

#include "internal.h"

#include <math.h>
#include <stdlib.h>

/* RFC 6716, 3: samples of 48 kHz, and bytes, of a packet of one frame. */
#define OPUS_RATE 48000
#define MAX_ONE_FRAME 1276

/* A run is handed out when it is so old: so Python has less to do than with each reading. */
#define RUN_S 0.4
/* Packets that come less regularly than this are no run: when each came is to be known. */
#define IRREGULAR_S 0.1

static int64_t extend_timestamp(uint32_t timestamp, int64_t reference)
{
    if (reference == INT64_MIN)
        return timestamp;
    return reference + (int32_t)(timestamp - (uint32_t)(uint64_t)reference);
}

/* Samples of a packet that has one frame; 0 of all others. */
static uint32_t one_frame_samples(const uint8_t *packet, uint32_t size)
{
    static const uint16_t silk[] = {480, 960, 1920, 2880};
    uint8_t config = packet[0] >> 3;

    if ((packet[0] & 0x03) != 0 || size > MAX_ONE_FRAME)
        return 0;
    if (config < 12)
        return silk[config % 4];
    return config < 16 ? silk[config % 2] : 120u << config % 4;
}

static void hand_out_run(struct stream *stream)
{
    struct run *run = &stream->run;
    struct port *port = stream->peer->port;

    if (run->count == 0)
        return;
    struct event *event = add_event(port, RUN);

    event->owner = stream->peer->owner;
    event->track = stream->track;
    event->data = copy_out(port, run->bytes, run->byte_count);
    event->size = run->byte_count;
    event->sizes = copy_out(port, run->sizes, run->count * (uint32_t)sizeof *run->sizes);
    event->count = run->count;
    event->timestamp = run->timestamp;
    event->arrival = run->arrival;
    event->last_arrival = run->last_arrival;
    event->earliest = run->earliest;
    event->lost = (int64_t)(run->lost - stream->lost_told);
    stream->lost_told = run->lost;
    event->energy = run->levels.energy;
    event->leveled = run->levels.count;
    event->voiced = run->levels.voiced;
    event->peak = run->levels.peak;
    run->count = run->byte_count = 0;
}

static void *grown(void *memory, uint32_t *capacity, uint32_t needed, size_t size)
{
    uint32_t wanted = *capacity ? *capacity : 64;

    while (wanted < needed)
        wanted *= 2;
    if (wanted == *capacity)
        return memory;
    void *larger = realloc(memory, wanted * size);

    if (larger)
        *capacity = wanted;
    return larger;
}

static bool make_room(struct run *run, uint32_t size)
{
    void *bytes = grown(run->bytes, &run->byte_capacity, run->byte_count + size, 1);

    if (!bytes)
        return false;
    run->bytes = bytes;
    void *sizes = grown(run->sizes, &run->size_capacity, run->count + 1, sizeof *run->sizes);

    if (!sizes)
        return false;
    run->sizes = sizes;
    return true;
}

/* Whether a packet of so many samples goes on where the run ends, and when it was to come. */
static bool goes_on(const struct run *run, const uint8_t *payload, uint32_t size,
                    uint32_t samples, int64_t timestamp, double arrival)
{
    double due = run->last_arrival + (double)samples / OPUS_RATE;

    return run->count > 0 && run->count < MAX_RUN_PACKETS && samples > 0 &&
           samples == run->samples && run->bytes[0] == payload[0] &&
           run->byte_count + size <= MAX_RUN_BYTES &&
           run->timestamp + (int64_t)samples * run->count == timestamp &&
           fabs(arrival - due) < IRREGULAR_S;
}

static void append(struct stream *stream, const uint8_t *payload, uint32_t size,
                   uint32_t timestamp32, double arrival, int16_t level)
{
    struct run *run = &stream->run;
    int64_t timestamp = extend_timestamp(timestamp32, stream->media_timestamp);

    stream->media_timestamp = timestamp;
    if (size == 0)
        return;
    uint32_t samples = one_frame_samples(payload, size);

    if (!goes_on(run, payload, size, samples, timestamp, arrival))
        hand_out_run(stream);
    if (!make_room(run, size)) {
        stream->state.lost++;
        return;
    }
    if (run->count == 0) {
        run->samples = samples;
        run->timestamp = timestamp;
        run->arrival = run->earliest = arrival;
        run->lost = stream->state.lost;
        run->levels = (struct levels){0};
    }
    double earliest = arrival - (double)samples * run->count / OPUS_RATE;

    if (earliest < run->earliest)
        run->earliest = earliest;
    run->last_arrival = arrival;
    add_level(&run->levels, level);
    memcpy(run->bytes + run->byte_count, payload, size);
    run->byte_count += size;
    run->sizes[run->count++] = (uint16_t)size;
}

/* Hand on what is held and has become due. */
static void release_held(struct stream *stream)
{
    while (stream->held && stream->held->sequence == stream->expected) {
        struct held *first = stream->held;

        stream->held = first->next;
        stream->held_count--;
        stream->held_bytes -= first->size;
        stream->expected++;
        append(stream, first->payload, first->size, first->timestamp, first->arrival,
               first->level);
        free(first);
    }
}

/* Wait no longer for what is missing before the first packet that is held. */
static void skip_missing(struct stream *stream)
{
    stream->state.lost += (uint64_t)(stream->held->sequence - stream->expected);
    stream->expected = stream->held->sequence;
    unmiss_before(stream, stream->expected);
    release_held(stream);
}

static void hold(struct stream *stream, const struct event *packet, double now)
{
    struct held **link = &stream->held;
    int64_t known = stream->expected - 1;

    while (*link && (*link)->sequence < packet->sequence) {
        known = (*link)->sequence;
        link = &(*link)->next;
    }
    struct held *held = NULL;

    if (!*link || (*link)->sequence != packet->sequence)
        held = malloc(sizeof *held + packet->size);
    if (!held) { /* it is there already, or there is no memory */
        stream->state.late++;
        return;
    }
    if (!*link)
        miss(stream, known + 1, packet->sequence, now);
    unmiss(stream, packet->sequence);
    *held = (struct held){.next = *link,
                          .sequence = packet->sequence,
                          .timestamp = (uint32_t)packet->timestamp,
                          .size = packet->size,
                          .arrival = packet->arrival,
                          .noticed = now,
                          .level = read_level(stream, packet)};
    memcpy(held->payload, packet->data, packet->size);
    *link = held;
    stream->held_count++;
    stream->held_bytes += packet->size;
    while (stream->held_count >= MAX_HELD || stream->held_bytes >= MAX_HELD_BYTES - MAX_DATAGRAM)
        skip_missing(stream);
}

void receive_audio(struct stream *stream, const struct event *packet, double now)
{
    struct event own = *packet;
    uint8_t type = packet->payload_type;

    if (!(stream->payload_types[type / 8] >> type % 8 & 1)) {
        stream->state.foreign++;
        own.size = 0; /* keeps its place in the order */
    }
    if (stream->expected == NO_SEQUENCE)
        stream->expected = own.sequence;
    if (own.sequence < stream->expected) {
        stream->state.late++;
    } else if (own.sequence > stream->expected) {
        hold(stream, &own, now);
    } else {
        unmiss(stream, own.sequence);
        stream->expected++;
        append(stream, own.data, own.size, (uint32_t)own.timestamp, own.arrival,
               read_level(stream, &own));
        release_held(stream);
    }
}

void audio_due(struct stream *stream, double now)
{
    while (stream->held && now - stream->held->noticed >= stream->patience)
        skip_missing(stream);
    if (stream->run.count > 0 && now - stream->run.arrival >= RUN_S)
        hand_out_run(stream);
}

void flush_audio(struct stream *stream)
{
    while (stream->held)
        skip_missing(stream);
    hand_out_run(stream);
}

void free_audio(struct stream *stream)
{
    while (stream->held) {
        struct held *first = stream->held;

        stream->held = first->next;
        free(first);
    }
    free(stream->run.bytes);
    free(stream->run.sizes);
}
