"""The report in a browser: it opens, a click shows the right material, and nothing is fetched."""

import json
import shutil

import pytest

pytestmark = pytest.mark.slow

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1360,1000",
)
# Position of a point on the screen, from the axes that plotly drew.
POSITION = """
const map = document.getElementById("map"), box = map.getBoundingClientRect();
const layout = map._fullLayout, trace = map.data[0], i = arguments[0];
return [box.left + layout.xaxis._offset + layout.xaxis.d2p(trace.x[i]),
        box.top + layout.yaxis._offset + layout.yaxis.d2p(trace.y[i])];
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if BROWSER is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed")
    selenium = pytest.importorskip("selenium.webdriver")
    options = selenium.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def opened(browser, reported):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get((reported.folder / "report.html").as_uri())
    WebDriverWait(browser, 60).until(
        lambda driver: driver.execute_script("return document.body.dataset.ready") == "true"
    )
    return browser


def test_it_opens_without_errors_and_asks_for_nothing(opened, reported):
    from selenium.webdriver.support.ui import Select

    # Every control once: what is drawn later must not fetch either.
    for name in ("map-kind", "map-colour", "group-select"):
        control = Select(opened.find_element("id", name))
        for place in range(len(control.options)):
            control.select_by_index(place)
    errors = [entry for entry in opened.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []
    page = (reported.folder / "report.html").as_uri()
    asked = []
    for entry in opened.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            request = message["params"]
            # What the browser's own pages ask for when it starts is none of ours.
            if request.get("documentURL", page) == page:
                asked.append(request.get("request", request)["url"])
    assert page in asked, "the log must see what is asked for"
    assert [url for url in asked if url != page and not url.startswith(("data:", "blob:"))] == []


@pytest.mark.parametrize("row", [2, 5, 7])
def test_a_click_on_a_point_shows_that_material(opened, reported, row):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    opened.execute_script("document.getElementById('map-section').scrollIntoView()")
    x, y = opened.execute_script(POSITION, row)
    actions = ActionChains(opened)
    actions.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    # Plotly takes a click for one once it has seen the pointer hover.
    actions.pause(0.3).click().perform()
    WebDriverWait(opened, 10).until(
        lambda driver: driver.find_element("id", "material").get_attribute("data-index") == str(row)
    )
    assert opened.find_element("id", "material-id").text == reported.explanation.ids[row]
    assert opened.find_element("id", "material-name").text == reported.explanation.formulas[row]


def test_a_click_on_a_group_shows_its_members_and_all_panels_have_a_size(opened, reported):
    opened.find_element("css selector", "#groups-table tr[data-group='1']").click()
    members = reported.explanation.groups.members(1)
    chips = [chip.text for chip in opened.find_elements("css selector", "#group-members span")]
    assert chips == [reported.explanation.formulas[row] for row in members]
    panels = opened.find_elements("css selector", "#group-curves .plot .main-svg")
    assert len(panels) >= 5
    assert all(panel.size["width"] > 200 and panel.size["height"] > 200 for panel in panels)
