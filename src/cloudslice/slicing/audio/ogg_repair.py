"""Makes valid Ogg Opus files of those that were cut off while they grew."""

from cloudslice.codecs.opus import SAMPLE_RATE, is_stereo
from cloudslice.slices import Repaired
from cloudslice.slicing.audio.ogg_pages import LAST, is_cut_off, opus_head, pre_skip_of, whole_pages


def repair_ogg(data: bytes) -> Repaired | None:
    """Make a valid file of what `OggOpusWriter` had written when it was cut off.

    What follows the last whole page goes, that page is marked as the last one, and the header
    gets the channel count of the packets. A file that is whole stays as it is.

    Returns:
        None if there is nothing to be heard in it.

    Raises:
        ValueError: it is damaged before its first audible page.
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
    stereo = any(is_stereo(packet) for page in pages[2:] for packet in page.packets())
    head = pages[0]._replace(body=opus_head(pre_skip, stereo))
    last = pages[-1]._replace(flags=pages[-1].flags | LAST)
    middle = data[pages[0].size : sum(page.size for page in pages[:-1])]
    content = head.to_bytes() + middle + last.to_bytes()
    return Repaired(content, round(samples * 1000 / SAMPLE_RATE))
