/* What the parts of the library share. */
#ifndef CLOUDSLICE_INTERNAL_H
#define CLOUDSLICE_INTERNAL_H

#include "native.h"

#include <stddef.h>
#include <string.h>

#define HEADER_LENGTH 12
#define NO_SEQUENCE INT64_MIN

/* Bytes of a slot: an Ethernet frame's datagram. A longer one has memory of its own. */
#define SLOT_BYTES 1536
#define MAX_DATAGRAM 65536

/* What one datagram may lead to: it may complete the order, so that all that is held comes out. */
#define MAX_HELD 320
#define MAX_HELD_BYTES (512 * 1024)
#define MAX_RUN_PACKETS 1024
#define MAX_RUN_BYTES 65536
#define EVENTS_OF_ONE (2 * MAX_HELD + 8)
#define BYTES_OF_ONE (MAX_HELD_BYTES + 2 * MAX_RUN_BYTES + MAX_DATAGRAM + 16 * 1024)

/* Missing packets of a stream that are kept account of. More at once are an outage: nothing of it is
 * asked for. */
#define MAX_MISSING 64

struct missing {
    int64_t sequence;
    double next_ask;
    uint32_t asked;
};

/* No level is told: else a level is the extension's byte, a bit for voice and 7 for -dBov (RFC 6464, 3). */
#define NO_LEVEL (-1)

/* What the levels of some packets come to. */
struct levels {
    double energy;
    uint32_t count;
    uint32_t voiced;
    uint8_t peak;
};

/* An Opus packet that waits for an earlier one. */
struct held {
    struct held *next;
    int64_t sequence;
    uint32_t timestamp;
    uint32_t size;           /* 0: it only keeps its place */
    double arrival;
    double noticed;          /* when it was read, and an earlier one was missing */
    int16_t level;
    uint8_t payload[];
};

/* Opus packets that follow each other, not handed out yet. */
struct run {
    uint8_t *bytes;
    uint16_t *sizes;
    uint32_t byte_capacity;
    uint32_t byte_count;
    uint32_t size_capacity;
    uint32_t count;
    uint32_t samples;        /* of each packet; 0 if the first one has not one frame */
    int64_t timestamp;
    double arrival;
    double last_arrival;
    double earliest;
    uint64_t lost;           /* the stream's when the run began */
    struct levels levels;
};

struct stream {
    struct peer *peer;
    struct stream *next_in_bucket;
    struct stream *next_of_port;
    struct stream **link_of_port; /* what points to this one */
    struct stream_state state;
    uint32_t ssrc;
    uint32_t track;
    enum stream_kind kind;
    uint32_t clock_rate;

    /* Sequence numbers and statistics (RFC 3550, A.1, A.3, A.8). */
    int64_t authentic;       /* the highest extended sequence number that was authenticated */
    int64_t base;            /* of the first packet */
    int64_t expected_before; /* at the last report */
    int64_t received_before;
    int64_t last_timestamp;  /* 32 bits of the last packet; -1 before it */
    double transit;          /* RTP ticks */
    double jitter;
    double roc_tried;        /* when another roll-over counter was last tried */

    /* What is missing. */
    uint32_t attempts;
    uint32_t missing_count;
    struct missing missing[MAX_MISSING];
    int64_t asked_from;      /* of video that is read: highest one read, or NO_SEQUENCE */

    /* Video. */
    bool is_read;

    /* Audio. */
    uint8_t payload_types[16];
    double patience;
    uint8_t level_id;
    int64_t expected;        /* the packet due next, or NO_SEQUENCE */
    int64_t media_timestamp; /* of the last packet in order, or INT64_MIN */
    struct held *held;       /* in order */
    uint32_t held_count;
    uint32_t held_bytes;
    struct run run;
    uint64_t lost_told;      /* how many lost packets runs have told of */
};

struct path {
    struct path *next_in_bucket;
    struct path *next_of_peer;
    struct peer *peer;
    uint8_t name[PATH_BYTES];
};

#define STREAM_BUCKETS 16

struct peer {
    struct port *port;
    struct peer_state state;
    uint32_t owner;
    unprotect_function *unprotect;
    set_roc_function *set_roc;
    get_roc_function *get_roc;
    void *srtp;
    struct stream *streams[STREAM_BUCKETS]; /* by SSRC */
    struct path *paths;
    int32_t first, last;     /* the slots whose datagrams wait to be taken in, or -1 */
    struct peer *next_waiting;
    bool is_waiting;
};

struct slot {
    uint8_t *large;          /* the datagram, if it is longer than a slot */
    double arrival;          /* monotonic second */
    uint32_t length;
    int32_t next;            /* the next datagram of the same peer, or -1 */
    bool is_open;            /* decrypted already */
    bool was_offered;        /* Python knows that nobody knows its SSRC or path */
    uint8_t path[PATH_BYTES];
};

struct reader;

struct port {
    uint32_t capacity, used;
    struct slot *slots;
    uint8_t *memory;         /* SLOT_BYTES each */
    struct reader *reader;
    uint64_t datagrams;
    uint32_t reading;        /* counts how often the slots were emptied */
    double drained;          /* when the socket was last seen empty */
    double since_wall;       /* at the last reading */
    double now;              /* of the last processing */

    uint64_t seed;
    struct path **path_buckets;
    uint32_t path_mask, path_count;

    struct peer *first_waiting, *last_waiting;
    int32_t first_stranger, last_stranger;
    struct stream *streams;  /* all of them */

    uint32_t event_count;
    struct event *events;
    uint8_t *output;         /* what events point to */
    uint32_t output_used;
};

#define OUTPUT_BYTES (4 * 1024 * 1024)

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define FORBID(memory, size) ASAN_POISON_MEMORY_REGION(memory, size)
#define ALLOW(memory, size) ASAN_UNPOISON_MEMORY_REGION(memory, size)
#else
#define FORBID(memory, size) ((void)(memory), (void)(size))
#define ALLOW(memory, size) ((void)(memory), (void)(size))
#endif

static inline uint16_t read16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t read32(const uint8_t *at)
{
    return (uint32_t)read16(at) << 16 | read16(at + 2);
}

static inline uint8_t *slot_bytes(const struct port *port, int32_t slot)
{
    uint8_t *large = port->slots[slot].large;

    return large ? large : port->memory + (size_t)slot * SLOT_BYTES;
}

/* datagrams.c */
void open_slots(const struct port *port, uint32_t first, uint32_t count);
void fence_slot(const struct port *port, int32_t slot);
void queue_slot(struct port *port);
void queue_for(struct port *port, struct peer *peer, int32_t slot);
void begin_events(struct port *port);
bool has_room(const struct port *port);
struct event *add_event(struct port *port, enum event_kind kind);
uint8_t *copy_out(struct port *port, const void *bytes, uint32_t size);

/* sockets.c */
extern const size_t reader_bytes;

/* rtp.c */
bool is_rtp(const uint8_t *datagram, uint32_t length);
int open_packet(struct peer *peer, uint8_t *packet, int *length);
void note_authentic(struct peer *peer, const struct slot *slot);
int decrypt_slot(struct peer *peer, struct stream *stream, int32_t index, double now);
bool is_repeated(int status);
void count_refused(struct peer *peer, int status);
bool parse_slot(struct peer *peer, int32_t index, struct event *event);
bool open_slot(struct peer *peer, struct stream *stream, int32_t index, double now,
               struct event *event);

/* paths.c */
struct peer *find_peer(const struct port *port, const uint8_t *path);
void forget_paths(struct peer *peer);

/* streams.c */
int64_t extend_sequence(const struct stream *stream, uint16_t sequence);
void count_packet(struct stream *stream, int64_t sequence, uint32_t timestamp, double arrival);
void miss(struct stream *stream, int64_t first, int64_t end, double now);
void unmiss(struct stream *stream, int64_t sequence);
void unmiss_before(struct stream *stream, int64_t sequence);
void ask_for_missing(struct stream *stream, double now);
struct stream *find_stream(const struct peer *peer, uint32_t ssrc);

/* levels.c */
int16_t read_level(const struct stream *stream, const struct event *packet);
void add_level(struct levels *levels, int16_t level);

/* audio.c */
void receive_audio(struct stream *stream, const struct event *packet, double now);
void audio_due(struct stream *stream, double now);
void flush_audio(struct stream *stream);
void free_audio(struct stream *stream);

#endif
