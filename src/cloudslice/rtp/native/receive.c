/* From a peer's datagrams to what Python is to hear of. */

#include "native.h"

#include <string.h>

/* srtp_err_status_replay_fail and srtp_err_status_replay_old of srtp.h. */
#define REPLAYED 9
#define TOO_OLD 10

/* RFC 6716, 3: samples of 48 kHz, and bytes, of a packet of one frame. */
#define OPUS_RATE 48000
#define MAX_ONE_FRAME 1276

static uint16_t read16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t read32(const uint8_t *at)
{
    return (uint32_t)read16(at) << 16 | read16(at + 2);
}

/* STUN, DTLS (RFC 7983), RTCP (RFC 5761, 4) and what is too short for anything. */
static bool is_other(const uint8_t *datagram, uint32_t length)
{
    return length < HEADER_LENGTH || datagram[0] >> 6 != 2 ||
           (datagram[1] >= 192 && datagram[1] <= 223);
}

EXPORT int64_t count_packet(struct stream *stream, uint16_t sequence, uint32_t timestamp,
                            double arrival)
{
    int64_t extended = sequence;

    if (stream->highest < 0) {
        stream->base = stream->highest = extended;
    } else {
        uint16_t step = (uint16_t)(sequence - (uint64_t)stream->highest);

        extended = stream->highest + step - (step < 0x8000 ? 0 : 0x10000);
        if (extended > stream->highest)
            stream->highest = extended;
    }
    if (extended % stream->counted_in == 0)
        stream->counted++;
    if (timestamp != stream->timestamp) { /* the packets of a frame follow each other at once */
        double transit = arrival * stream->clock_rate - timestamp;
        double difference = transit - stream->transit;

        if (difference < 0)
            difference = -difference;
        /* Not where the 32 bits wrap. */
        if (stream->timestamp >= 0 && difference < stream->clock_rate)
            stream->jitter += (difference - stream->jitter) / 16;
        stream->timestamp = timestamp;
        stream->transit = transit;
    }
    return extended;
}

/* Take the decrypted packet of a slot apart (RFC 3550, 5.1); whether it is one. */
static bool parse(const struct batch *batch, int32_t slot, struct item *item)
{
    uint32_t first = (uint32_t)slot * SLOT_BYTES;
    const uint8_t *packet = batch->memory + first;
    uint32_t start = HEADER_LENGTH + 4 * (packet[0] & 0x0Fu);
    uint32_t end = batch->lengths[slot];

    *item = (struct item){.timestamp = read32(packet + 4),
                          .arrival = batch->arrivals[slot],
                          .type = packet[1]};
    if (end < HEADER_LENGTH)
        return false;
    if (packet[0] & 0x10) {
        if (start + 4 > end)
            return false;
        item->extension_profile = read16(packet + start);
        item->extension_size = (uint16_t)(4 * read16(packet + start + 2));
        item->extension_at = first + start + 4;
        start += 4 + 4u * read16(packet + start + 2);
    }
    if (packet[0] & 0x20) {
        uint32_t padding = packet[end - 1];

        if (padding > end)
            return false;
        end -= padding;
    }
    if (start > end)
        return false;
    item->at = first + start;
    item->size = end - start;
    return true;
}

/* Decrypt a slot's packet and take it apart; whether it is authentic RTP. */
static bool open_slot(struct batch *batch, int32_t slot, struct peer *peer, struct item *item)
{
    int length = (int)batch->lengths[slot];

    if (slot != batch->opened) {
        int status = peer->unprotect(peer->srtp, batch->memory + (size_t)slot * SLOT_BYTES, &length);

        if (status == REPLAYED || status == TOO_OLD)
            peer->repeated++;
        else if (status != 0 || length < 0 || length > MAX_PACKET)
            peer->not_authentic++;
        if (status != 0 || length < 0 || length > MAX_PACKET)
            return false;
        batch->lengths[slot] = (uint32_t)length;
    }
    if (!parse(batch, slot, item)) {
        peer->malformed++;
        return false;
    }
    return true;
}

EXPORT int open_packet(struct batch *batch, int32_t slot, struct peer *peer)
{
    batch->item_count = 0;
    if (!open_slot(batch, slot, peer, &batch->items[0]))
        return -1;
    batch->opened = slot;
    return 0;
}

static int64_t extend_timestamp(uint32_t timestamp, int64_t reference)
{
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

/* Runs that grow while packets of a peer are taken in. */
struct runs {
    struct item *open;      /* the one that the next packet may belong to, or NULL */
    uint32_t samples;       /* of each of its packets */
    uint32_t size_count;    /* packets in all runs */
    uint32_t byte_count;
};

/* Whether the next packet, of this many samples, goes on where the open run ends. */
static bool goes_on(const struct batch *batch, const struct runs *runs, const struct item *packet,
                    uint32_t samples)
{
    const struct item *run = runs->open;

    return run && run->track == packet->track && samples > 0 && samples == runs->samples &&
           batch->run_bytes[run->at] == batch->memory[packet->at] &&
           run->timestamp + (int64_t)samples * run->count == packet->timestamp;
}

/* Put a packet, whose timestamp is extended and whose payload is not empty, at the end of its
 * track's run, or begin one. */
static void add_to_run(struct batch *batch, struct runs *runs, const struct item *packet)
{
    const uint8_t *payload = batch->memory + packet->at;
    uint32_t samples = one_frame_samples(payload, packet->size);
    struct item *run = runs->open;

    if (!goes_on(batch, runs, packet, samples)) {
        run = runs->open = &batch->items[batch->item_count++];
        runs->samples = samples;
        *run = *packet;
        run->at = runs->byte_count;
        run->size = 0;
        run->sizes_at = runs->size_count;
        run->earliest = packet->arrival;
    }
    double earliest = packet->arrival - (double)samples * run->count / OPUS_RATE;

    if (earliest < run->earliest)
        run->earliest = earliest;
    run->last_arrival = packet->arrival;
    memcpy(batch->run_bytes + runs->byte_count, payload, packet->size);
    batch->run_sizes[runs->size_count++] = (uint16_t)packet->size;
    runs->byte_count += packet->size;
    run->size += packet->size;
    run->count++;
}

static void receive_audio(struct batch *batch, struct stream *stream, struct item *packet,
                          uint16_t sequence, struct runs *runs)
{
    uint8_t payload_type = packet->type & 0x7F;

    stream->last_arrival = stream->last_authentic = packet->arrival;
    packet->sequence = count_packet(stream, sequence, (uint32_t)packet->timestamp, packet->arrival);
    if (!(stream->payload_types[payload_type / 8] >> payload_type % 8 & 1)) {
        stream->foreign++;
        packet->size = 0; /* keeps its place in the order */
    }
    if (!stream->is_in_order ||
        (stream->expected >= 0 && packet->sequence != stream->expected)) {
        stream->is_in_order = false;
        batch->items[batch->item_count++] = *packet;
        return;
    }
    stream->expected = packet->sequence + 1;
    if (stream->has_media_timestamp)
        packet->timestamp = extend_timestamp((uint32_t)packet->timestamp, stream->media_timestamp);
    stream->media_timestamp = packet->timestamp;
    stream->has_media_timestamp = true;
    if (packet->size > 0)
        add_to_run(batch, runs, packet);
}

/* Whether a video packet is to be decrypted; it is counted in any case. */
static bool is_read(struct stream *stream, int64_t sequence, double arrival)
{
    stream->last_arrival = arrival;
    if (arrival < stream->thinned_until) {
        stream->unread++;
        stream->read_highest = -1;
        return false;
    }
    if (sequence < stream->read_from) {
        stream->unread++;
        return false;
    }
    return true;
}

static struct stream *find_stream(const struct peer *peer, uint32_t ssrc)
{
    struct stream *stream = peer->streams;

    while (stream && stream->ssrc != ssrc)
        stream = stream->next;
    return stream;
}

EXPORT int32_t receive(struct batch *batch, int32_t slot, struct peer *peer)
{
    struct runs runs = {0};

    batch->item_count = 0;
    batch->is_full = false;
    for (; slot >= 0; slot = batch->next[slot]) {
        const uint8_t *packet = batch->memory + (size_t)slot * SLOT_BYTES;
        struct stream *stream;
        struct item item;

        if (is_other(packet, batch->lengths[slot]))
            break;
        stream = find_stream(peer, read32(packet + 8));
        if (!stream)
            break;
        batch->is_full = batch->item_count == MAX_ITEMS || runs.size_count == MAX_RUN_PACKETS ||
                         runs.byte_count > MAX_RUN_BYTES - MAX_PACKET;
        if (batch->is_full)
            break;

        uint16_t sequence = read16(packet + 2);

        if (stream->kind == AUDIO) {
            if (open_slot(batch, slot, peer, &item)) {
                item.track = stream->track;
                receive_audio(batch, stream, &item, sequence, &runs);
            }
            continue;
        }
        double arrival = batch->arrivals[slot];
        int64_t extended = count_packet(stream, sequence, read32(packet + 4), arrival);

        if (is_read(stream, extended, arrival) && open_slot(batch, slot, peer, &item)) {
            item.sequence = extended;
            item.track = stream->track;
            stream->last_authentic = arrival;
            batch->items[batch->item_count++] = item;
        }
    }
    return slot;
}
