"""People look into a spool, and take out what they need."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cloudslice.cli.main import main
from cloudslice.slices import SliceKind
from cloudslice.slicing.audio.ogg import OggOpusWriter
from helpers.ogg_pages import read_opus_file
from helpers.opus_stream import encode_opus, speech_like
from helpers.spool_site import AUDIO, KEY, PICTURE, START_MS, TASK, SpoolSite

OBJECT = KEY.format(21).rpartition("/")[2]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["spool", *map(str, arguments)])


@pytest.fixture
async def site(tmp_path: Path) -> SpoolSite:
    """A spool with a whole slice of audio and a picture."""
    site = SpoolSite(tmp_path / "spool")
    async with site.open(TASK) as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"audio")
        growing.finish(START_MS, 5, {})
        spool.put(PICTURE, START_MS + 3000, b"picture", {})
    return site


def test_what_is_in_it(site: SpoolSite) -> None:
    result = call("list", site.directory)
    assert (result.exit_code, result.stderr) == (0, "")
    audio, picture = (line.split("\t") for line in result.output.splitlines())
    assert audio == [
        "whole",
        "5",
        "2023-11-14T22:13:21Z",
        TASK.task_id,
        "anchor_1",
        KEY.format(21),
        str(site.wholes[0]),
    ]
    assert picture[:3] == ["whole", "7", "2023-11-14T22:13:24Z"]


async def test_what_is_not_whole(site: SpoolSite) -> None:
    """It says what is wrong, and what can be told all the same."""
    audio, picture = site.wholes
    data = audio.read_bytes()
    audio.write_bytes(data.replace(b"audio\n", b"radio\n"))
    picture.write_bytes(picture.read_bytes()[:-1])
    async with site.open() as spool:
        spool.grow(AUDIO, START_MS).append(b"grows")
    (site.directory / "other.slice").write_bytes(b"no slice")
    lines = [line.split("\t") for line in call("list", site.directory).output.splitlines()]
    states = [line[0] for line in lines]
    assert states == [
        "damaged: its content is damaged",
        "damaged: it has no end",
        "unfinished",
        "damaged: its head is damaged: its check sum is wrong",
    ]
    assert [line[4:6] for line in lines] == [
        ["anchor_1", KEY.format(21)],
        ["anchor_1", "?"],
        ["anchor_1", "?"],
        ["?", "?"],
    ]


def test_taking_out(site: SpoolSite, tmp_path: Path) -> None:
    """Under the object's file name; a file that is there is not replaced."""
    target = tmp_path / "out" / "of it"
    for _ in range(2):
        result = call("extract", *site.wholes, "-o", target)
        assert (result.exit_code, result.stderr) == (0, "")
    picture = OBJECT.replace("21.ogg", "24.png")
    contents = {path.name: path.read_bytes() for path in target.iterdir()}
    assert contents == {
        OBJECT: b"audio",
        OBJECT.replace(".ogg", ".2.ogg"): b"audio",
        picture: b"picture",
        picture.replace(".png", ".2.png"): b"picture",
    }
    assert len(result.output.splitlines()) == 2


async def test_taking_out_what_is_damaged(site: SpoolSite, tmp_path: Path) -> None:
    """What is there, with a word about it; the others, too."""
    audio, picture = site.wholes
    data = audio.read_bytes()
    audio.write_bytes(data.replace(b"audio\n", b"radio\n"))
    picture.write_bytes(b"X" + picture.read_bytes()[1:])
    stranger = site.directory / "other.slice"
    stranger.write_bytes(b"no slice")
    result = call("extract", audio, picture, stranger, "-o", tmp_path)
    assert result.exit_code == 1
    assert "its content is damaged" in result.stderr
    assert (tmp_path / OBJECT).read_bytes() == b"radio"
    assert (tmp_path / OBJECT.replace("21.ogg", "24.png")).read_bytes() == b"picture"
    assert (tmp_path / "other.slice.content").read_bytes() == b"no slice"


async def test_audio_that_was_cut_off_can_be_played(site: SpoolSite, tmp_path: Path) -> None:
    packets = encode_opus(speech_like(2), application="audio", bit_rate=64_000)
    pieces: list[bytes] = []
    writer = OggOpusWriter(pieces.append, serial=1, pre_skip=312, stereo=False)
    for packet in packets:
        writer.add(packet, [len(packet)], 960)
    writer.flush()
    site.repairs.pop(SliceKind.AUDIO)
    async with site.open() as spool:
        spool.grow(AUDIO, START_MS).append(b"".join(pieces)[:-9])
    result = call("extract", *site.parts, "-o", tmp_path)
    assert (result.exit_code, result.stderr) == (1, f"{site.parts[0]}: it has not ended\n")
    name = "anchor_1_20231114T221321Z.ogg"
    assert result.stdout.strip().endswith(name)
    assert read_opus_file((tmp_path / name).read_bytes()).packets


def test_a_file_that_cannot_be_read(site: SpoolSite, tmp_path: Path) -> None:
    (tmp_path / "link.slice").symlink_to(site.wholes[0])
    result = call("extract", tmp_path / "link.slice", site.wholes[0], "-o", tmp_path)
    assert result.exit_code == 1
    assert "link.slice: " in result.stderr
    assert (tmp_path / OBJECT).read_bytes() == b"audio"


def test_adopting_without_a_node_that_runs(tmp_path: Path) -> None:
    settings = tmp_path / "cloudslice.toml"
    settings.write_text(f'data_dir = "{tmp_path}"\n')
    result = call("adopt", tmp_path / "left", "--config", settings)
    assert result.exit_code == 2
    assert f"no node is running with data_dir = {tmp_path}" in result.stderr
