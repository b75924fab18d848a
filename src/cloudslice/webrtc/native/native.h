/* The packet path below Python: from UDP sockets to runs of Opus packets and the packets of the
 * key frames that somebody wants.
 *
 * The library owns what it needs of a stream: its sequence numbers, its order, its statistics, what
 * is missing of it, the run that grows. Python calls functions and reads results; it writes into
 * no struct. All calls for one port come from one thread. Invariants:
 *
 *  1. Every datagram that was read is counted by its stream, or comes out as an event, or is
 *     counted as refused; once.
 *  2. Only a packet that libsrtp has authenticated moves the sequence number by which the others
 *     are extended. A packet that is dropped unread is believed within NEAR of that number, and not
 *     for longer than UNREAD_S.
 *  3. Opus packets of a stream come out in order, each once. What is missing is waited for by the
 *     clock of the reading, never by the time of arrival: a stall of the process loses nothing.
 *  4. What an event points to stays until the next call of `port_process`, `peer_flush` or
 *     `stream_flush`; a datagram stays until the next `port_clear`.
 */
#ifndef CLOUDSLICE_NATIVE_H
#define CLOUDSLICE_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

/* Bytes of a path: a sockaddr_in or sockaddr_in6, zeros up to 28, and the 16 bytes of the local
 * address that the datagram came to (an IPv4 one in the first 4). */
#define PATH_BYTES 44

/* Events of one call of `port_process` at most. */
#define MAX_EVENTS 4096

enum event_kind {
    RUN = 1,    /* Opus packets that follow each other without a gap */
    PACKET,     /* an RTP packet of a video that is read */
    UNKNOWN,    /* a decrypted RTP packet of an SSRC that is no stream's: make one, or it is dropped */
    REFUSED,    /* an RTP packet of an unknown SSRC, not authentic by the roll-over counter that libsrtp
                 * begins with: it is tried once more, then dropped */
    OTHER,      /* a datagram of a known path that is no RTP: STUN, DTLS, SRTCP */
    STRANGER,   /* a datagram of an unknown path; RTP may be adopted, or it is dropped */
    MISSING,    /* sequence numbers to ask for again */
};

struct event {
    const uint8_t *data;     /* RUN: the packets, joined; PACKET, UNKNOWN: the payload; else the datagram */
    const void *sizes;       /* RUN: uint16_t each, the packets' sizes; MISSING: int64_t each */
    const uint8_t *extension; /* PACKET, UNKNOWN: the body of the header extension, or NULL */
    const uint8_t *path;     /* where a datagram came from: PATH_BYTES */
    int64_t sequence;        /* PACKET: extended; UNKNOWN: 16 bits */
    int64_t timestamp;       /* PACKET, UNKNOWN: 32 bits; RUN: of the first packet, extended */
    double arrival;          /* monotonic second; of a run's first packet */
    double last_arrival;     /* of a run's last packet */
    double earliest;         /* when a run's first packet would have come, had it been as quick as the quickest */
    uint32_t owner;          /* the peer's */
    uint32_t track;          /* the stream's */
    uint32_t size;           /* bytes of data */
    uint32_t count;          /* RUN: packets; MISSING: how many */
    uint32_t ssrc;           /* UNKNOWN, REFUSED */
    uint32_t slot;           /* STRANGER: to be named to `peer_adopt`, with `reading` */
    uint32_t reading;
    uint16_t extension_size;
    uint16_t extension_profile;
    uint8_t kind;
    uint8_t payload_type;    /* PACKET, UNKNOWN */
    bool marker;
    int64_t lost;            /* RUN: packets given up before it that no run before it has told of */
    double energy;           /* RUN: of packets with a level (RFC 6464), the sum of 10^(-level/10) */
    uint32_t leveled;        /* RUN: packets with a level */
    uint32_t voiced;         /* RUN: those of them that are voice, by what their sender says */
    uint8_t peak;            /* RUN: the loudest one's level, -dBov; if there is one */
};

/* What Python may read of a stream at any time. Counts only grow. */
struct stream_state {
    double last_arrival;     /* monotonic second of the last packet; -inf before it */
    double last_authentic;   /* ...that was decrypted */
    int64_t highest;         /* extended sequence number; -1 before the first packet */
    int64_t received;        /* packets, repeated ones too */
    uint64_t unread;         /* video packets dropped on a look at their clear header */
    uint64_t late;           /* audio packets that came twice, or after they were given up */
    uint64_t lost;           /* audio packets that were given up */
    uint64_t foreign;        /* audio packets of a payload type that is not Opus */
    uint64_t given_up;       /* missing packets that are no longer asked for */
};

/* What Python may read of a peer. */
struct peer_state {
    double last_authentic;   /* monotonic second of the last packet that was decrypted; -inf before it */
    uint64_t not_authentic;  /* packets refused */
    uint64_t repeated;       /* packets that came twice, or too late for SRTP */
    uint64_t malformed;      /* authentic, but no RTP */
    uint64_t unassigned;     /* authentic, of an SSRC that nobody took */
    uint8_t path[PATH_BYTES]; /* where the last packet that was decrypted came from */
};

/* The figures of a report block (RFC 3550, 6.4.1). */
struct report {
    int64_t highest;
    int64_t packets_lost;
    uint32_t fraction_lost;
    uint32_t jitter;
};

enum stream_kind { AUDIO, VIDEO };

/* libsrtp's srtp_unprotect, srtp_set_stream_roc and srtp_get_stream_roc. */
typedef int unprotect_function(void *srtp, void *packet, int *length);
typedef int set_roc_function(void *srtp, uint32_t ssrc, uint32_t roll_over_counter);
typedef int get_roc_function(void *srtp, uint32_t ssrc, uint32_t *roll_over_counter);

struct port;
struct peer;
struct stream;

/* The sizes of event, stream_state, peer_state and report: Python's must be the same. */
EXPORT extern const uint32_t struct_sizes[4];

/* A place for `slots` datagrams; `seed` makes the hash of paths unpredictable. NULL: no memory. */
EXPORT struct port *port_new(uint32_t slots, uint64_t seed);
EXPORT void port_free(struct port *port);

/* Where `port_process` puts events: MAX_EVENTS places. */
EXPORT const struct event *port_events(const struct port *port);

/* Read datagrams into empty slots. `now` is the monotonic second and `since_wall` what the
 * monotonic clock shows more than the wall clock. 0: that was all there is; 1: there may be more, when
 * the slots have been processed and cleared; else a negative errno. */
EXPORT int port_read(struct port *port, int descriptor, double now, double since_wall);

/* All sockets were empty at that moment: what comes later has arrived later. */
EXPORT void port_drained(struct port *port, double now, double since_wall);

/* Put one datagram into a slot, as if it had been read; false if there is none. */
EXPORT bool port_put(struct port *port, const uint8_t *datagram, uint32_t length,
                     const uint8_t *path, double arrival);

/* Take in what is in the slots, and do what is due at monotonic second `now`. How many events
 * there are; call again until there are none. */
EXPORT uint32_t port_process(struct port *port, double now);

/* Empty all slots. Call it when `port_process` has no more events. */
EXPORT void port_clear(struct port *port);

/* How many datagrams were read since the start. */
EXPORT uint64_t port_datagrams(const struct port *port);

/* A peer, which events call `owner`. */
EXPORT struct peer *peer_new(struct port *port, uint32_t owner);
EXPORT void peer_free(struct peer *peer);
EXPORT const struct peer_state *peer_state(const struct peer *peer);

/* What a path brings is the peer's from now on, and no longer another one's. */
EXPORT bool peer_add_path(struct peer *peer, const uint8_t *path);
EXPORT void peer_remove_path(struct peer *peer, const uint8_t *path);

/* How RTP packets of the peer are opened. Until then they are refused. */
EXPORT void peer_set_srtp(struct peer *peer, unprotect_function *unprotect,
                          set_roc_function *set_roc, get_roc_function *get_roc, void *srtp);

/* Offer the RTP packet of a STRANGER event to a peer. If it is an authentic one of its streams, its path
 * is the peer's from now on, and the next call of `port_process` takes it in. */
EXPORT bool peer_adopt(struct peer *peer, uint32_t slot, uint32_t reading);

/* A stream of the peer. `payload_types`: a bit for each that is Opus, 16 bytes, or NULL.
 * `attempts`: how often a missing packet is asked for. `patience`: seconds that later audio packets
 * wait for a missing one. `level_id`: of the header extension that tells levels (RFC 6464), or 0.
 * NULL: no memory, or there is one of this SSRC. */
EXPORT struct stream *stream_new(struct peer *peer, uint32_t ssrc, uint32_t track,
                                 enum stream_kind kind, uint32_t clock_rate,
                                 const uint8_t *payload_types, uint32_t attempts, double patience,
                                 uint8_t level_id);

/* Forget a stream; what it holds is lost: `stream_flush` first. */
EXPORT void stream_free(struct stream *stream);
EXPORT const struct stream_state *stream_state(const struct stream *stream);

/* Hand out the packets of a video from now on, or no more. */
EXPORT void stream_read(struct stream *stream, bool is_read);

/* The timestamp of the last Opus packet in order, extended; INT64_MIN before the first one. */
EXPORT int64_t stream_timestamp(const struct stream *stream);

/* The report since the last call; false before the first packet. */
EXPORT bool stream_report(struct stream *stream, struct report *report);

/* Hand out all audio that has come, without waiting for what is missing. How many events there
 * are; call again until there are none. */
EXPORT uint32_t peer_flush(struct peer *peer);

/* The same of one stream, at once. */
EXPORT uint32_t stream_flush(struct stream *stream);

/* Send a datagram on a path: from the local address that the path names. 0, or a negative errno. */
EXPORT int send_on_path(int descriptor, const uint8_t *path, const uint8_t *datagram,
                        uint32_t length);

#endif
