/* Opening the packets in slots: SRTP (RFC 3711) and RTP's header (RFC 3550, 5.1). */

#include "internal.h"

/* srtp_err_status_replay_fail and srtp_err_status_replay_old of srtp.h. */
#define REPLAYED 9
#define TOO_OLD 10

/* Another roll-over counter is tried once in so many seconds. */
#define ROC_TRIAL_S 0.05

EXPORT void peer_set_srtp(struct peer *peer, unprotect_function *unprotect,
                          set_roc_function *set_roc, get_roc_function *get_roc, void *srtp)
{
    peer->unprotect = unprotect;
    peer->set_roc = set_roc;
    peer->get_roc = get_roc;
    peer->srtp = srtp;
}

/* Whether it is RTP: not STUN, DTLS (RFC 7983), RTCP (RFC 5761, 4) or too short. */
bool is_rtp(const uint8_t *datagram, uint32_t length)
{
    return length >= HEADER_LENGTH && datagram[0] >> 6 == 2 &&
           !(datagram[1] >= 192 && datagram[1] <= 223);
}

/* libsrtp's srtp_unprotect, which gives no packet that is longer than before. */
int open_packet(struct peer *peer, uint8_t *packet, int *length)
{
    int original = *length;
    int status = peer->unprotect(peer->srtp, packet, length);

    return status == 0 && (*length < HEADER_LENGTH || *length > original) ? -1 : status;
}

/* Decrypt in place: 0, or libsrtp's status, and the packet as it was. Where a known stream's packet is not
 * authentic, the roll-over counters beside the one that libsrtp believes are tried: the true one may have
 * been passed unread. */
static int unprotect(struct peer *peer, struct stream *stream, uint8_t *packet, int *length,
                     double now)
{
    static _Thread_local uint8_t copy[MAX_DATAGRAM];
    int original = *length;

    if (!peer->unprotect)
        return -1;
    memcpy(copy, packet, (size_t)original);
    int status = open_packet(peer, packet, length);

    if (status == 0 || status == REPLAYED || status == TOO_OLD)
        return status;
    if (stream && peer->set_roc && stream->authentic != NO_SEQUENCE &&
        now - stream->roc_tried >= ROC_TRIAL_S) {
        int64_t believed = extend_sequence(stream, read16(copy + 2)) >> 16;

        stream->roc_tried = now;
        for (int64_t roc = believed > 0 ? believed - 1 : 0; roc <= believed + 1; roc++) {
            memcpy(packet, copy, (size_t)original);
            *length = original;
            peer->set_roc(peer->srtp, stream->ssrc, (uint32_t)roc);
            if (open_packet(peer, packet, length) == 0) {
                stream->authentic = roc << 16 | read16(copy + 2);
                return 0;
            }
        }
        peer->set_roc(peer->srtp, stream->ssrc, 0); /* libsrtp believes what it believed before */
    }
    memcpy(packet, copy, (size_t)original);
    return status;
}

/* Take a decrypted packet apart (RFC 3550, 5.1); whether it is one. */
static bool parse(const uint8_t *packet, uint32_t length, struct event *event)
{
    uint32_t start = HEADER_LENGTH + 4 * (packet[0] & 0x0Fu);
    uint32_t end = length;

    if (end < HEADER_LENGTH)
        return false;
    event->payload_type = packet[1] & 0x7F;
    event->marker = packet[1] >> 7;
    event->sequence = read16(packet + 2);
    event->timestamp = read32(packet + 4);
    event->ssrc = read32(packet + 8);
    if (packet[0] & 0x10) {
        if (start + 4 > end)
            return false;
        event->extension_profile = read16(packet + start);
        uint32_t size = 4u * read16(packet + start + 2);

        event->extension = packet + start + 4;
        start += 4 + size;
        if (start > end)
            return false;
        event->extension_size = (uint16_t)(size < UINT16_MAX ? size : UINT16_MAX);
    }
    if (packet[0] & 0x20) {
        uint32_t padding = end > start ? packet[end - 1] : 0;

        if (padding == 0 || padding > end - start)
            return false;
        end -= padding;
    }
    if (start > end)
        return false;
    event->data = packet + start;
    event->size = end - start;
    return true;
}

/* The peer was there when this packet came. Packets of two sockets are not read in the order in which
 * they came. */
void note_authentic(struct peer *peer, const struct slot *slot)
{
    if (slot->arrival < peer->state.last_authentic)
        return;
    peer->state.last_authentic = slot->arrival;
    memcpy(peer->state.path, slot->path, PATH_BYTES);
}

/* Decrypt a slot's packet: 0, or libsrtp's status. */
int decrypt_slot(struct peer *peer, struct stream *stream, int32_t index, double now)
{
    struct slot *slot = &peer->port->slots[index];
    int length = (int)slot->length;

    if (slot->is_open)
        return 0;
    int status = unprotect(peer, stream, slot_bytes(peer->port, index), &length, now);

    if (status == 0) {
        slot->length = (uint32_t)length;
        slot->is_open = true;
        fence_slot(peer->port, index);
        note_authentic(peer, slot);
    }
    return status;
}

/* Whether libsrtp says of a packet that it came before, or comes too late to know. */
bool is_repeated(int status)
{
    return status == REPLAYED || status == TOO_OLD;
}

void count_refused(struct peer *peer, int status)
{
    if (is_repeated(status))
        peer->state.repeated++;
    else
        peer->state.not_authentic++;
}

/* Take a slot's decrypted packet apart; whether it is RTP. */
bool parse_slot(struct peer *peer, int32_t index, struct event *event)
{
    struct slot *slot = &peer->port->slots[index];
    uint8_t *bytes = slot_bytes(peer->port, index);

    *event = (struct event){.owner = peer->owner, .arrival = slot->arrival, .path = slot->path};
    if (parse(bytes, slot->length, event))
        return true;
    peer->state.malformed++;
    return false;
}

/* Decrypt a slot's packet and take it apart; whether it is authentic RTP. */
bool open_slot(struct peer *peer, struct stream *stream, int32_t index, double now,
                      struct event *event)
{
    int status = decrypt_slot(peer, stream, index, now);

    if (status != 0)
        count_refused(peer, status);
    return status == 0 && parse_slot(peer, index, event);
}
