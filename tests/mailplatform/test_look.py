"""How the admin looks: links for whom the pages behind them are open, files that are there, colours that can be read."""

import math
import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse

from mailplatform import look
from tests.mailplatform.admin.people import browser_of, make_domain, staff, superuser, text_of

LINKS = {
    "Users": ("admin:accounts_user_changelist", "accounts.view_user"),
    "Mailboxes": ("admin:accounts_mailbox_changelist", "accounts.view_mailbox"),
    "Collected accounts": ("admin:collecting_source_changelist", "collecting.view_source"),
    "Domains": ("admin:accounts_domain_changelist", "accounts.view_domain"),
    "Groups": ("admin:auth_group_changelist", "auth.view_group"),
    "History": ("admin:admin_logentry_changelist", "admin.view_logentry"),
}


def navigation(browser: Client) -> set[str]:
    page = browser.get(reverse("admin:index")).content.decode()
    return {name for name, (url, _right) in LINKS.items() if f'href="{reverse(url)}"' in page}


@pytest.mark.django_db
def test_a_link_is_for_whom_its_page_is_open() -> None:
    make_domain()
    assert navigation(browser_of(superuser())) == set(LINKS)
    assert navigation(browser_of(staff(name="nobody"))) == set()
    for name, (url, right) in LINKS.items():
        helper = browser_of(staff(right, name=f"helper-{name.lower().replace(' ', '-')}"))
        assert navigation(helper) == {name}
        assert helper.get(reverse(url)).status_code == 200


@pytest.mark.django_db
def test_the_name_the_icon_and_the_style_are_ours(client: Client) -> None:
    page = client.get(reverse("admin:login")).content.decode()
    assert "Mailplatform" in text_of(page.encode())
    for path in re.findall(r'(?:href|src)="/static/([^"?]+)"', page):
        assert finders.find(path), path
    assert "mailplatform/admin.css" in page
    assert "mailplatform/icon.svg" in page


def _luminance(colour: tuple[float, float, float]) -> float:
    """WCAG's relative luminance of an OKLCH colour."""
    lightness, chroma, hue = colour
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long, medium, short = (
        (lightness + x * a + y * b) ** 3
        for x, y in ((0.3963377774, 0.2158037573), (-0.1055613458, -0.0638541728), (-0.0894841775, -1.2914855480))
    )
    red = 4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short
    return 0.2126 * min(max(red, 0), 1) + 0.7152 * min(max(green, 0), 1) + 0.0722 * min(max(blue, 0), 1)


def _contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def test_links_and_buttons_can_be_read_on_both_grounds() -> None:
    shades = {}
    for shade, text in look.UNFOLD["COLORS"]["primary"].items():
        lightness, chroma, hue = re.fullmatch(r"oklch\(([\d.]+)% ([\d.]+) ([\d.]+)\)", text).groups()
        shades[shade] = _luminance((float(lightness) / 100, float(chroma), float(hue)))
    white, dark_ground = 1.0, 0.0091  # unfold's base-900, #111827
    assert _contrast(shades["600"], white) >= 4.5
    assert _contrast(shades["400"], dark_ground) >= 4.5


def test_the_style_sheet_leaves_colours_to_the_theme() -> None:
    """A text colour of ours that is not the theme's has another one for the dark."""
    css = (Path(look.__file__).parent / "static/mailplatform/admin.css").read_text()
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL))
    assert len(rules) > 60
    for selector, body in rules:
        if re.search(r"(?<![-\w])color: var\(--color-base-(900|800|700|600)\)", body) and ".dark" not in selector:
            plain = selector.strip().split(",")[0].strip()
            assert any(f".dark {plain}" in other for other, _body in rules), f"{plain} is dark text on a dark ground"
