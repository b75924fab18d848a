"""Makes valid Ogg Opus files of those that were cut off while they grew."""

from cloudslice.codecs.opus import SAMPLE_RATE, is_stereo
from cloudslice.slices import Repaired
from cloudslice.slicing.audio.ogg_pages import (
    LAST,
    comments_of,
    is_cut_off,
    lace,
    opus_head,
    opus_tags,
    pre_skip_of,
    whole_pages,
)
from cloudslice.slicing.audio.slice_comments import read_comments, with_details


def repair_ogg(data: bytes) -> Repaired | None:
    """Make a valid file of what `OggOpusWriter` had written when it was cut off.

    What follows the last whole page goes, that page is marked as the last one, and the headers
    get the channel count of the packets and what is known of the slice. A file that is whole stays
    as it is.

    Returns:
        None if there is nothing to be heard in it.

    Raises:
        ValueError: it is damaged before its first audible page, or is no slice's.
    """
    pages = list(whole_pages(data))
    if len(pages) < 3 or not pages[0].body.startswith(b"OpusHead"):
        if not is_cut_off(data[sum(page.size for page in pages) :]):
            raise ValueError("it is no beginning of an Ogg Opus file")
        return None
    pre_skip = pre_skip_of(pages[0].body)
    samples = pages[-1].granule - pre_skip
    if samples <= 0:
        return None
    size = sum(page.size for page in pages)
    duration_ms = round(samples * 1000 / SAMPLE_RATE)
    comments = comments_of(pages[1].body)
    details = read_comments(comments)
    details.pop("duration-ms", None)  # told beside them
    is_ended = bool(pages[-1].flags & LAST) and details.get("samples") == samples
    if details and not is_ended:
        details["samples"] = samples
        told = {"duration-ms": duration_ms, **details, "repaired": "true"}
        comments = with_details(comments, told)
    tags = opus_tags(comments, len(pages[1].body))
    stereo = any(is_stereo(packet) for page in pages[2:] for packet in page.packets())
    head = pages[0]._replace(body=opus_head(pre_skip, stereo))
    second = pages[1]._replace(body=tags, lacing=lace(len(tags)))
    last = pages[-1]._replace(flags=pages[-1].flags | LAST)
    middle = data[pages[0].size + pages[1].size : size - pages[-1].size]
    content = b"".join((head.to_bytes(), second.to_bytes(), middle, last.to_bytes()))
    return Repaired(content, duration_ms, details)
