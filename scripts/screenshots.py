"""Takes pictures of reports: screenshots.py BROWSER OUT REPORT_FOLDER...

A page becomes pictures of 1800 pixels' height, NAME_WIDTH_SCHEME_PART.png. Fails when a page is wider than the screen.
"""
import pathlib
import sys

from playwright.sync_api import sync_playwright

PART_HEIGHT = 1800
MOST_PARTS = 6


def photograph(browser, folder: pathlib.Path, out: pathlib.Path, width: int, scheme: str) -> bool:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme,
                                  device_scale_factor=1 if width > 500 else 2)
    page = context.new_page()
    page.goto((folder / "index.html").resolve().as_uri())
    size = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    for part in range(min(MOST_PARTS, -(-size[1] // PART_HEIGHT))):
        top = part * PART_HEIGHT
        page.screenshot(path=out / f"{folder.name}_{width}_{scheme}_{part}.png", full_page=True,
                        clip={"x": 0, "y": top, "width": width, "height": min(PART_HEIGHT, size[1] - top)})
    context.close()
    if size[0] > width:
        print(f"{folder} is {size[0]} pixels wide on a screen of {width}", file=sys.stderr)
    return size[0] <= width


def main() -> int:
    browser_path, out, *folders = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        fits = [photograph(browser, pathlib.Path(folder), pathlib.Path(out), width, scheme)
                for folder in folders for width in (1280, 390) for scheme in ("light", "dark")]
    print(f"pictures in {out}")
    return 0 if all(fits) else 1


if __name__ == "__main__":
    sys.exit(main())
