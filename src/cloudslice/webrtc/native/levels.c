/* Audio levels that senders tell beside their packets (RFC 6464), so that nothing need be decoded. */

#include "internal.h"

#define ONE_BYTE_PROFILE 0xBEDE
#define TWO_BYTE_PROFILE 0x1000

/* The first byte of a header extension's element (RFC 8285, 4), or -1. */
static int first_byte(const struct event *packet, uint8_t id)
{
    bool is_two_byte = (packet->extension_profile & 0xFFF0) == TWO_BYTE_PROFILE;
    uint32_t at = 0, end = packet->extension_size;
    const uint8_t *body = packet->extension;

    if (!is_two_byte && packet->extension_profile != ONE_BYTE_PROFILE)
        return -1;
    while (at + 1 < end) {
        if (body[at] == 0) { /* padding */
            at++;
            continue;
        }
        uint8_t found = is_two_byte ? body[at] : body[at] >> 4;
        uint32_t size = is_two_byte ? body[at + 1] : (body[at] & 0x0Fu) + 1;

        if (!is_two_byte && found == 15)
            return -1;
        at += is_two_byte ? 2 : 1;
        if (found == id)
            return size > 0 && at + size <= end ? body[at] : -1;
        at += size;
    }
    return -1;
}

int16_t read_level(const struct stream *stream, const struct event *packet)
{
    if (stream->level_id == 0 || packet->extension_size == 0)
        return NO_LEVEL;
    return (int16_t)first_byte(packet, stream->level_id);
}

/* 10^(-level/10): what a packet's samples are in the mean, squared, as a part of the largest. */
static double energy_of(uint8_t level)
{
    static const double tens[] = {1,    1e-1, 1e-2, 1e-3,  1e-4,  1e-5, 1e-6,
                                  1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12};
    static const double ones[] = {1,
                                  0.7943282347242815,
                                  0.6309573444801932,
                                  0.5011872336272722,
                                  0.3981071705534972,
                                  0.31622776601683794,
                                  0.25118864315095796,
                                  0.19952623149688797,
                                  0.15848931924611134,
                                  0.12589254117941673};

    return tens[level / 10] * ones[level % 10];
}

void add_level(struct levels *levels, int16_t level)
{
    uint8_t quietness = level & 0x7F;

    if (level == NO_LEVEL)
        return;
    if (levels->count == 0 || quietness < levels->peak)
        levels->peak = quietness;
    levels->count++;
    levels->voiced += (uint32_t)level >> 7 & 1;
    levels->energy += energy_of(quietness);
}
