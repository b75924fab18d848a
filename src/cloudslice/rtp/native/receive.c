/* From a peer's datagrams to what Python is to hear of. */

#include "native.h"

#include <string.h>

/* srtp_err_status_replay_fail and srtp_err_status_replay_old of srtp.h. */
#define REPLAYED 9
#define TOO_OLD 10

/* SRTP's roll-over counter is guessed from the last packet decrypted (RFC 3711, 3.3.1): right as
 * long as fewer than 32768 packets follow it. So one in as many as this is decrypted at least. */
#define UNREAD_LIMIT 4095

/* A guess is in doubt where a packet is further ahead than this of the last one decrypted, or so far
 * behind that libsrtp would not take it (the replay window of rtp/srtp.py), or when so many packets
 * in a row were refused. Then other values are tried: from the last packet's on, so many, or the
 * higher number with every packet that is refused as the last of so many in a row. */
#define NEAR_AHEAD 0x4000
#define NEAR_BEHIND 2048
#define REFUSED_IN_A_ROW 16
#define CYCLES_TRIED 2
#define CYCLES_TRIED_AT_LAST 8

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

/* The number nearest to `reference` whose low 16 bits are `sequence`. */
static int64_t extend_sequence(uint16_t sequence, int64_t reference)
{
    return reference + (int16_t)(sequence - (uint16_t)reference);
}

EXPORT int64_t count_packet(struct stream *stream, uint16_t sequence, uint32_t timestamp,
                            double arrival)
{
    int64_t extended = sequence;

    if (stream->highest < 0) {
        stream->base = stream->highest = extended;
    } else {
        extended = extend_sequence(sequence, stream->highest);
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

/* Whether a packet is within so many of the last one decrypted; if there is none yet, it is not. */
static bool is_near(const struct stream *stream, uint16_t sequence, int behind, int ahead)
{
    int16_t distance = (int16_t)(sequence - (uint16_t)stream->authentic);

    return stream->authentic >= 0 && distance >= -behind && distance <= ahead;
}

static bool is_last_in_a_row(const struct stream *stream)
{
    return stream->refused % REFUSED_IN_A_ROW == REFUSED_IN_A_ROW - 1;
}

/* Count on from a packet that was decrypted so many cycles after the last one. */
static void skip_cycles(struct stream *stream, uint16_t sequence, uint32_t cycles)
{
    int64_t extended = ((stream->authentic >> 16) + cycles) * 0x10000 + sequence;
    bool is_surely_ahead = cycles > 0 || !is_near(stream, sequence, NEAR_BEHIND, NEAR_AHEAD);

    if (stream->authentic >= 0 && is_surely_ahead && extended > stream->highest)
        stream->highest = extended - 1;
}

/* Decrypt a packet whose roll-over counter may be another one than is guessed; libsrtp's status. */
static int decrypt_doubtful(struct peer *peer, struct stream *stream, uint8_t *packet, int *length)
{
    uint8_t copy[SLOT_BYTES]; /* what does not authenticate is overwritten all the same */
    uint32_t tries = is_last_in_a_row(stream) ? CYCLES_TRIED_AT_LAST : CYCLES_TRIED;
    uint32_t last_roc, roc;
    int first_length = *length;
    int first_status, status;

    if (peer->get_roc(peer->srtp, stream->ssrc, &last_roc) != 0)
        return peer->unprotect(peer->srtp, packet, length); /* nothing came of this SSRC yet */
    memcpy(copy, packet, (size_t)first_length);
    first_status = status = peer->unprotect(peer->srtp, packet, length);
    for (uint32_t cycles = 0; cycles < tries && status != 0; cycles++) {
        if (last_roc + cycles == 0)
            continue; /* was the guess, and cannot be asked for */
        memcpy(packet, copy, (size_t)first_length);
        *length = first_length;
        peer->set_roc(peer->srtp, stream->ssrc, last_roc + cycles);
        status = peer->unprotect(peer->srtp, packet, length);
    }
    peer->set_roc(peer->srtp, stream->ssrc, 0);
    if (status != 0 || peer->get_roc(peer->srtp, stream->ssrc, &roc) != 0)
        return first_status;
    skip_cycles(stream, read16(packet + 2), roc - last_roc);
    return 0;
}

static int decrypt(struct peer *peer, struct stream *stream, uint8_t *packet, int *length)
{
    int status;

    if (stream && peer->get_roc &&
        (is_last_in_a_row(stream) ||
         !is_near(stream, read16(packet + 2), NEAR_BEHIND, NEAR_AHEAD)))
        status = decrypt_doubtful(peer, stream, packet, length);
    else
        status = peer->unprotect(peer->srtp, packet, length);
    if (stream)
        stream->refused = status == 0 ? 0 : stream->refused + 1;
    return status;
}

/* Decrypt a slot's packet and take it apart; whether it is authentic RTP. `stream` is its SSRC's, or
 * NULL. */
static bool open_slot(struct batch *batch, int32_t slot, struct peer *peer, struct stream *stream,
                      struct item *item)
{
    int length = (int)batch->lengths[slot];

    if (slot != batch->opened) {
        int status = decrypt(peer, stream, batch->memory + (size_t)slot * SLOT_BYTES, &length);

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

static struct stream *find_stream(const struct peer *peer, uint32_t ssrc)
{
    struct stream *stream = peer->streams;

    while (stream && stream->ssrc != ssrc)
        stream = stream->next;
    return stream;
}

EXPORT int open_packet(struct batch *batch, int32_t slot, struct peer *peer)
{
    const uint8_t *packet = batch->memory + (size_t)slot * SLOT_BYTES;
    struct stream *stream = find_stream(peer, read32(packet + 8));

    batch->item_count = 0;
    if (!open_slot(batch, slot, peer, stream, &batch->items[0]))
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

/* A stream's packet was decrypted. */
static void note_authentic(struct stream *stream, int64_t sequence, double arrival)
{
    if (sequence > stream->authentic)
        stream->authentic = sequence;
    stream->last_authentic = arrival;
}

static void receive_audio(struct batch *batch, struct stream *stream, struct item *packet,
                          uint16_t sequence, struct runs *runs)
{
    uint8_t payload_type = packet->type & 0x7F;

    stream->last_arrival = packet->arrival;
    packet->sequence = count_packet(stream, sequence, (uint32_t)packet->timestamp, packet->arrival);
    note_authentic(stream, packet->sequence, packet->arrival);
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

/* Take in a video packet; whether it is one to hand on.
 *
 * The first one, and those too far from the last one decrypted, are decrypted before their header is
 * believed. So whoever forges headers moves nothing further than that, and libsrtp's guesses stay
 * right however long nobody reads the stream. */
static bool receive_video(struct batch *batch, int32_t slot, struct peer *peer,
                          struct stream *stream, struct item *item)
{
    const uint8_t *packet = batch->memory + (size_t)slot * SLOT_BYTES;
    uint16_t sequence = read16(packet + 2);
    double arrival = batch->arrivals[slot];
    bool is_proof = !is_near(stream, sequence, UNREAD_LIMIT, UNREAD_LIMIT);
    int64_t extended;

    if (is_proof && !open_slot(batch, slot, peer, stream, item))
        return false;
    stream->last_arrival = arrival;
    extended = count_packet(stream, sequence, read32(packet + 4), arrival);
    if (is_proof)
        note_authentic(stream, extended, arrival);
    if (arrival < stream->thinned_until) {
        stream->unread++;
        stream->read_highest = -1;
        return false;
    }
    if (extended < stream->read_from && !is_proof) {
        stream->unread++;
        return false;
    }
    if (!is_proof && !open_slot(batch, slot, peer, stream, item))
        return false;
    note_authentic(stream, extended, arrival);
    item->sequence = extended;
    item->track = stream->track;
    return true;
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

        if (stream->kind == AUDIO) {
            uint16_t sequence = read16(packet + 2);

            if (open_slot(batch, slot, peer, stream, &item)) {
                item.track = stream->track;
                receive_audio(batch, stream, &item, sequence, &runs);
            }
        } else if (receive_video(batch, slot, peer, stream, &item)) {
            batch->items[batch->item_count++] = item;
        }
    }
    return slot;
}
