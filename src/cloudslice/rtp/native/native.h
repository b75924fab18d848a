/* The packet path below Python: from a UDP socket to runs of Opus packets and the video packets
 * that somebody wants to read.
 *
 * Python (rtp/native/__init__.py) has these structures as ctypes has them, makes them, reads and
 * writes them between calls, and owns their memory. Nothing here allocates, logs or keeps time,
 * and what is unusual is left to Python: a packet that is out of order, an unknown SSRC, STUN, DTLS
 * and RTCP. All calls for one batch come from one thread.
 */
#ifndef CLOUDSLICE_NATIVE_H
#define CLOUDSLICE_NATIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define EXPORT __attribute__((visibility("default")))

/* The lengths of a slot's parts, in bytes. */
#define SLOT_BYTES 1536
#define NAME_BYTES 32
#define CONTROL_BYTES 32

/* The longest datagram taken whole, an Ethernet frame's; of a longer one so much is kept. */
#define MAX_PACKET 1500

#define HEADER_LENGTH 12

/* What a call of `receive` makes at most, before the caller has to come again. */
#define MAX_ITEMS 256
#define MAX_RUN_PACKETS 1024
#define MAX_RUN_BYTES 65536

/* What became of packets: one that Python is to look at, or a run of Opus packets. */
struct item {
    int64_t sequence;   /* extended sequence number, of a run's first packet */
    int64_t timestamp;  /* of a packet, 32 bits; of a run's first packet, extended */
    double arrival;     /* monotonic second; of a run's first packet */
    double last_arrival;
    double earliest;    /* when a run's first packet would have come, had it been as quick as the
                         * quickest */
    uint32_t at;        /* where the payload begins in `memory`, or the payloads in `run_bytes` */
    uint32_t size;      /* bytes */
    uint32_t extension_at; /* where the header extension's body begins in `memory` */
    uint32_t sizes_at;     /* where the sizes of a run's packets begin in `run_sizes` */
    uint16_t extension_size;
    uint16_t extension_profile;
    uint16_t count;     /* packets of the run; 0: a packet for Python */
    uint8_t track;      /* the stream's */
    uint8_t type;       /* a packet's marker bit and payload type, as in its header */
};

/* A row of slots, what readings of a socket put into them, and what `receive` made of it. */
struct batch {
    /* Made by Python, each with `capacity` places; never changed. */
    uint32_t capacity;
    uint8_t *memory;            /* SLOT_BYTES each: the datagrams */
    uint8_t *names;             /* NAME_BYTES each: the raw socket addresses they came from */
    uint32_t *lengths;          /* bytes of each datagram */
    double *arrivals;           /* wall clock when read, monotonic seconds after `group` */
    int32_t *next;              /* the slot of the same source's next datagram, or -1 */
    int32_t *groups;            /* by source, in the order of their coming: its first slot that was
                                 * not taken yet, or -1; set to that by whoever takes it */
    bool *has_signalling;       /* by group, whether STUN or DTLS (RFC 7983) is among its datagrams
                                 * since it was taken */
    int32_t *last;              /* by group, its last slot so far */
    int32_t *buckets;           /* 4 * capacity places: groups by their source's hash, or -1 */
    struct mmsghdr *messages;
    struct iovec *vectors;
    uint8_t *controls;          /* CONTROL_BYTES each: where the kernel puts its timestamps */
    struct item *items;         /* MAX_ITEMS */
    uint8_t *run_bytes;         /* MAX_RUN_BYTES */
    uint16_t *run_sizes;        /* MAX_RUN_PACKETS */
    uint32_t seed;              /* of the hash, so that nobody can choose sources that collide */

    uint32_t size;              /* datagrams */
    uint32_t grouped;           /* so many of them are in groups */
    uint32_t group_count;
    int32_t opened;             /* the slot whose packet is decrypted already, or -1 */
    uint32_t item_count;
    bool is_full;               /* `receive` has to be called again for the slot it stopped at */
};

enum kind { AUDIO, VIDEO };

/* One SSRC of a peer. Kept by Python, which changes it between calls only. */
struct stream {
    struct stream *next;        /* of the same peer, or NULL */
    uint32_t ssrc;
    uint8_t kind;
    uint8_t track;              /* a number by which Python knows it */
    uint8_t payload_types[16];  /* of audio: a bit for each that was negotiated */

    /* Statistics (RFC 3550, A.1, A.3, A.8). */
    uint32_t clock_rate;
    uint32_t counted_in;
    int64_t base;
    int64_t highest;            /* extended sequence number; -1 before the first packet */
    int64_t counted;
    int64_t timestamp;          /* of the last packet, 32 bits; -1 before the first one */
    double transit;             /* RTP ticks */
    double jitter;
    double last_arrival;        /* monotonic second of the last packet */
    double last_authentic;      /* ...that was decrypted */
    int64_t authentic;          /* highest extended sequence number decrypted; -1: none yet */
    uint32_t refused;           /* packets in a row that could not be decrypted */

    /* Audio. */
    int64_t expected;           /* extended sequence number of the packet due next; -1: any */
    int64_t media_timestamp;    /* extended timestamp of the last one in order */
    bool has_media_timestamp;
    bool is_in_order;           /* nothing is held by Python, which sees all packets otherwise */
    uint64_t foreign;           /* packets of payload types that were not negotiated */

    /* Video. */
    int64_t read_from;          /* packets before this sequence number go unread */
    int64_t read_highest;       /* highest one that was read; -1: what is missing is not missed */
    double thinned_until;       /* nor are packets read that arrived before this */
    uint64_t unread;
};

/* libsrtp's srtp_unprotect: decrypts in place; 0 if it did, and the new length. */
typedef int unprotect(void *srtp, void *packet, int *length);

/* libsrtp's srtp_get_stream_roc and srtp_set_stream_roc: the roll-over counter (RFC 3711, 3.3.1) of
 * an SSRC, and the one to take for its next packets instead of a guess; 0: guess again. */
typedef int get_roc(void *srtp, uint32_t ssrc, uint32_t *roc);
typedef int set_roc(void *srtp, uint32_t ssrc, uint32_t roc);

/* One DTLS association. */
struct peer {
    unprotect *unprotect;
    get_roc *get_roc;           /* NULL: guesses are final */
    set_roc *set_roc;
    void *srtp;
    struct stream *streams;
    uint64_t not_authentic;     /* packets refused */
    uint64_t repeated;          /* packets that came twice, or too late for SRTP */
    uint64_t malformed;         /* authentic, but no RTP */
};

/* The sizes of item, batch, stream, peer, mmsghdr and iovec, in bytes: Python's must be the same. */
EXPORT extern const uint32_t struct_sizes[6];

/* Tie the slots together, once. */
EXPORT void prepare(struct batch *batch);

/* Begin anew: all slots are empty. */
EXPORT void clear(struct batch *batch);

/* Fill empty slots with what has come. 0: that was all there is; 1: there may be more; else a
 * negative errno. */
EXPORT int fill(struct batch *batch, int descriptor);

/* Put the datagrams that are in no group into that of their source, and set their arrivals to
 * monotonic seconds, none before the one that came before it, nor before `oldest` or after `now`.
 * `since_wall` is what the monotonic clock shows more than the wall clock, and `former_since_wall`
 * what it showed at first, if the wall clock was set since these datagrams began to come. */
EXPORT void group(struct batch *batch, double now, double oldest, double former_since_wall,
                  double since_wall);

/* Take in a peer's packets from `slot` on. The slot that it stopped at, whose datagram is for Python
 * to look at unless the batch `is_full`, or -1. What became of those before is in `items`. */
EXPORT int32_t receive(struct batch *batch, int32_t slot, struct peer *peer);

/* Decrypt the packet of an unknown SSRC: in items[0] is what it has. 0, or -1 if it was refused,
 * which is counted. When its SSRC is known by then, `receive` takes it as it is. */
EXPORT int open_packet(struct batch *batch, int32_t slot, struct peer *peer);

/* Count a packet by its header; its extended sequence number. */
EXPORT int64_t count_packet(struct stream *stream, uint16_t sequence, uint32_t timestamp,
                            double arrival);

#endif
