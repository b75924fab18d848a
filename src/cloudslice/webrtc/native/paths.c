/* Whose a path is: a hash table whose hash nobody outside can foresee. */

#include "internal.h"

#include <stdlib.h>

static uint32_t bucket_of(const struct port *port, const uint8_t *path)
{
    uint64_t hash = port->seed;

    for (int at = 0; at < PATH_BYTES; at += 4) {
        uint32_t word;

        memcpy(&word, path + at, sizeof word);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    return (uint32_t)(hash >> 16) & port->path_mask;
}

static struct path **find_link(const struct port *port, const uint8_t *name)
{
    struct path **link = &port->path_buckets[bucket_of(port, name)];

    while (*link && memcmp((*link)->name, name, PATH_BYTES) != 0)
        link = &(*link)->next_in_bucket;
    return link;
}

struct peer *find_peer(const struct port *port, const uint8_t *path)
{
    struct path *found = *find_link(port, path);

    return found ? found->peer : NULL;
}

/* Twice as many buckets, when there are as many paths as buckets; without memory all stays. */
static void grow(struct port *port)
{
    uint32_t old_count = port->path_mask + 1;
    struct path **old = port->path_buckets;
    struct path **buckets = calloc((size_t)old_count * 2, sizeof *buckets);

    if (!buckets)
        return;
    port->path_buckets = buckets;
    port->path_mask = old_count * 2 - 1;
    for (uint32_t bucket = 0; bucket < old_count; bucket++) {
        for (struct path *each = old[bucket], *next; each; each = next) {
            struct path **first = &buckets[bucket_of(port, each->name)];

            next = each->next_in_bucket;
            each->next_in_bucket = *first;
            *first = each;
        }
    }
    free(old);
}

static void remove_from_peer(struct path *path)
{
    struct path **link = &path->peer->paths;

    while (*link != path)
        link = &(*link)->next_of_peer;
    *link = path->next_of_peer;
}

static void remove_path(struct port *port, struct path **link)
{
    struct path *path = *link;

    *link = path->next_in_bucket;
    remove_from_peer(path);
    free(path);
    port->path_count--;
}

EXPORT bool peer_add_path(struct peer *peer, const uint8_t *path)
{
    struct port *port = peer->port;
    struct path **link = find_link(port, path);

    if (*link && (*link)->peer == peer)
        return true;
    if (*link)
        remove_path(port, link);
    struct path *added = calloc(1, sizeof *added);

    if (!added)
        return false;
    if (port->path_count > port->path_mask)
        grow(port);
    memcpy(added->name, path, PATH_BYTES);
    link = &port->path_buckets[bucket_of(port, path)];
    added->peer = peer;
    added->next_in_bucket = *link;
    *link = added;
    added->next_of_peer = peer->paths;
    peer->paths = added;
    port->path_count++;
    return true;
}

EXPORT void peer_remove_path(struct peer *peer, const uint8_t *path)
{
    struct path **link = find_link(peer->port, path);

    if (*link && (*link)->peer == peer)
        remove_path(peer->port, link);
}

void forget_paths(struct peer *peer)
{
    while (peer->paths)
        remove_path(peer->port, find_link(peer->port, peer->paths->name));
}
