"""The browser's files come whole or not at all, and once."""

import json
import sys

import pytest
import vendor  # tools/vendor.py

# stands in for npm: makes the files that the real packages hold
NPM = """
import pathlib, sys
for pattern in {patterns}:
    path = pathlib.Path("node_modules", pattern.replace("*", "some"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("from npm")
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    for name in vendor.LOCK:
        (tmp_path / name).write_text("{}", encoding="utf8")
    (tmp_path / "book" / "_static").mkdir(parents=True)
    monkeypatch.setattr(vendor, "ROOT", tmp_path)
    monkeypatch.setattr(vendor, "VENDOR", tmp_path / "book" / "_static" / "vendor")
    offers(monkeypatch, vendor.FILES)
    return tmp_path


def offers(monkeypatch, patterns):
    code = NPM.format(patterns=list(patterns))
    monkeypatch.setattr(vendor, "npm", lambda: [sys.executable, "-c", code])


def test_the_lock_fixes_every_package_and_names_no_registry():
    lock = json.loads((vendor.ROOT / "package-lock.json").read_text(encoding="utf8"))
    package = json.loads((vendor.ROOT / "package.json").read_text(encoding="utf8"))
    first, *packages = lock["packages"].values()
    assert first["dependencies"] == package["dependencies"]
    assert all("integrity" in p and "resolved" not in p for p in packages)


def test_the_files_are_brought_once(checkout, monkeypatch):
    vendor.main()
    assert vendor.is_current()
    assert (vendor.VENDOR / "html-manager" / "embed.js").read_text() == "from npm"
    monkeypatch.setattr(vendor, "npm", lambda: pytest.fail("asked npm again"))
    vendor.main()


def test_another_lock_brings_them_again(checkout):
    vendor.main()
    (vendor.VENDOR / "old.js").touch()
    (checkout / "package-lock.json").write_text('{"new": 1}', encoding="utf8")
    assert not vendor.is_current()
    vendor.main()
    assert vendor.is_current() and not (vendor.VENDOR / "old.js").exists()


def test_without_a_network_nothing_is_left(checkout, monkeypatch):
    monkeypatch.setattr(vendor, "npm", lambda: [sys.executable, "-c", "raise SystemExit(1)"])
    with pytest.raises(SystemExit, match="is there a network"):
        vendor.main()
    assert not vendor.VENDOR.exists() and not list((checkout / "_build").iterdir())


def test_when_a_file_is_missing_the_old_ones_stay(checkout, monkeypatch):
    vendor.main()
    (checkout / "package-lock.json").write_text('{"new": 1}', encoding="utf8")
    offers(monkeypatch, list(vendor.FILES)[:-1])
    with pytest.raises(SystemExit, match="hold no .*woff2"):
        vendor.main()
    assert (vendor.VENDOR / "mathjax" / "tex-chtml.js").exists() and not vendor.is_current()
