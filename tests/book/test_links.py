"""Every link inside the built book leads somewhere, and every page is small enough to load."""

import pytest

from . import faults
from .conftest import PAGES


@pytest.mark.parametrize("path", PAGES)
def test_every_link_leads_somewhere_and_the_page_is_small(book, path):
    assert faults.links(book / path) + faults.size(book / path) == []
