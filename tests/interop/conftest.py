"""What the clients publish."""

import pytest

from helpers.publisher_media import PublisherMedia, make_publisher_media


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> PublisherMedia:
    return make_publisher_media(tmp_path_factory.mktemp("media"))
