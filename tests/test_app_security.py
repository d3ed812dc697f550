"""Each attack that the app is meant to withstand, tried."""

import io
import logging
import struct
import zlib
from pathlib import Path

import pydicom
import pytest
from fastapi.routing import APIRoute
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from app_site import HTML, PASSWORD, Browser, app_over, make_site, queue, verdict
from radvqa.app.accounts import LOCKED_S, MAX_FAILURES, Accounts
from radvqa.app.ask import read_upload
from radvqa.app.database import open_database
from radvqa.app.door import COOKIE, csrf_of
from radvqa.app.guard import MAX_BODY
from radvqa.app.settings import Settings
from radvqa.errors import InputError
from radvqa.picture import MAX_PIXELS


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def app(run, tmp_path):
    app = app_over(run, tmp_path / "app.sqlite", model="radvqa-tiny")
    queue(app)
    return app


@pytest.fixture
def people(app):
    accounts = app.state.accounts
    for name, role in (("rita", "reader"), ("vera", "reviewer"), ("ada", "admin")):
        accounts.add(name, role, PASSWORD)
    return accounts


def signed_in(app, name):
    browser = Browser(app)
    assert browser.sign_in(name).status_code == 303
    return browser


# ---------------------------------------------------------------- network


def test_another_address_than_this_machine_is_refused_without_accounts(run, tmp_path):
    with pytest.raises(InputError, match="account add"):
        app_over(run, tmp_path / "a.sqlite", host="0.0.0.0")
    Accounts(open_database(tmp_path / "a.sqlite")).add("ada", "admin", PASSWORD)
    assert app_over(run, tmp_path / "a.sqlite", host="0.0.0.0")
    assert not Settings(runs=(run,)).public and not Settings(runs=(run,), host="::1").public
    assert Settings(runs=(run,), host="192.168.1.2").public and Settings(runs=(run,), host="reading-room").public


def test_other_host_names_are_refused(app):
    for host in ("evil.example", "evil.example:8600", "127.0.0.1.evil.example", "", "[::2]:8600"):
        assert Browser(app).get("/runs", headers={"host": host}).status_code == 421, host
    for host in ("localhost:1", "127.0.0.1", "[::1]:8600"):
        assert Browser(app).get("/runs", headers={"host": host}).status_code == 200, host


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}]
)
def test_other_origins_change_nothing(app, headers):
    browser = Browser(app)
    sent = browser.post(
        "/api/review/phantom/verdicts", json=verdict(0), headers={"x-csrf-token": browser.csrf, **headers}
    )
    assert sent.status_code == 403 and not app.state.reviews.verdicts(shelf(app).key)


def shelf(app):
    return app.state.library.corpora["phantom"]


# ---------------------------------------------------------------- forms


def every_route(app):
    """The routes of the app and of its rooms, wherever the framework keeps them."""
    found, open_ = [], list(app.routes)
    while open_:
        route = open_.pop()
        if isinstance(route, APIRoute):
            found.append(route)
        open_ += list(getattr(getattr(route, "original_router", None), "routes", None) or [])
        open_ += list(getattr(route, "routes", None) or []) if not isinstance(route, APIRoute) else []
    return found


FORMS = {
    "/sign-in": {"name": "ada", "password": PASSWORD},
    "/sign-out": {},
    "/review/phantom/queue": {"number": "5"},
    "/review/phantom/export": {},
    "/rate": {"arms": "small/base"},
}


@pytest.mark.parametrize("address", FORMS)
def test_forms_need_their_token(app, address):
    browser = Browser(app)
    assert browser.csrf
    for token in (None, "", "0" * 64, "wrong", "é" * 10):
        fields = FORMS[address] if token is None else FORMS[address] | {"csrf": token}
        assert browser.post(address, data=fields).status_code in (403, 422), token


def test_scripts_need_their_token_and_a_token_needs_its_cookie(app):
    one, other = Browser(app), Browser(app)
    assert one.post("/api/review/phantom/verdicts", json=verdict(0)).status_code == 403
    assert one.csrf != other.csrf
    stolen = one.post("/api/review/phantom/verdicts", json=verdict(0), headers={"x-csrf-token": other.csrf})
    assert stolen.status_code == 403
    assert one.say("/api/review/phantom/verdicts", verdict(0)).status_code == 200


def test_every_changing_route_is_known_to_these_tests(app):
    found = {r.path for r in every_route(app) if r.methods & {"POST", "PUT", "DELETE", "PATCH"}}
    assert found == {
        "/sign-in", "/sign-out", "/ask", "/rate", "/review/{shelf}/queue", "/review/{shelf}/export",
        "/api/review/{shelf}/verdicts", "/api/rate/{number}/ratings",
    }  # fmt: skip


# ---------------------------------------------------------------- sessions and roles


def test_the_cookie(app, people):
    browser = Browser(app)
    response = browser.sign_in("ada")
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "secure" not in cookie
    assert "max-age" not in cookie and "expires" not in cookie, "it ends with the browser"


def test_over_https_the_cookie_is_secure(run, tmp_path):
    browser = Browser(app_over(run, tmp_path / "a.sqlite", https=True))
    response = browser.get("/runs", headers=HTML)
    assert "secure" in response.headers["set-cookie"].lower() and "strict-transport-security" in response.headers


def test_a_planted_session_does_not_become_the_victims(app, people):
    planted = "A" * 43
    victim, thief = Browser(app), Browser(app)
    victim.cookies.set(COOKIE, planted)
    sent = victim.post("/sign-in", data={"csrf": csrf_of(planted), "name": "ada", "password": PASSWORD})
    assert sent.status_code == 303
    thief.cookies.set(COOKIE, planted)
    assert thief.get("/people").status_code == 401
    assert victim.get("/people").status_code == 200


def test_signing_out_ends_the_session_everywhere(app, people):
    browser = signed_in(app, "ada")
    old = browser.cookies[COOKIE]
    assert browser.form("/sign-out").status_code == 303
    thief = Browser(app)
    thief.cookies.set(COOKIE, old)
    assert thief.get("/people").status_code == 401


def test_sessions_end_idle_and_end_at_all(app, people):
    browser = signed_in(app, "ada")
    start = people._now()
    people._now = lambda: start + 8 * 3600 - 10
    assert browser.get("/people").status_code == 200
    people._now = lambda: start + 16 * 3600 + 10
    assert browser.get("/people").status_code == 401, "eight hours idle"


def test_without_a_session_there_is_only_the_sign_in_page(app, people):
    browser = Browser(app)
    for route in every_route(app):
        if "GET" in route.methods and route.path != "/sign-in":
            address = route.path.format(shelf="phantom", run="small", number=0, method="raw", place=0, key="0" * 64)
            assert browser.get(address).status_code == 401, address
            assert browser.get(address, headers=HTML).headers.get("location") == "/sign-in", address


ALLOWED = {
    "reader": {
        "/review": 403,
        "/api/review/phantom/next": 403,
        "/rate": 403,
        "/people": 403,
        "/runs": 200,
        "/inspect/small/0": 200,
    },
    "reviewer": {
        "/api/review/phantom/next": 200,
        "/review/phantom/agreement": 403,
        "/rate": 200,
        "/people": 403,
        "/runs": 200,
    },
    "admin": {"/api/review/phantom/next": 200, "/review/phantom/agreement": 200, "/rate": 200, "/people": 200},
}


@pytest.mark.parametrize("name, role", [("rita", "reader"), ("vera", "reviewer"), ("ada", "admin")])
def test_roles(app, people, name, role):
    browser = signed_in(app, name)
    for address, status in ALLOWED[role].items():
        assert browser.get(address).status_code == status, address


def test_nobody_becomes_more_than_they_are(app, people):
    reader, reviewer = signed_in(app, "rita"), signed_in(app, "vera")
    assert reader.say("/api/review/phantom/verdicts", verdict(0)).status_code == 403
    assert reader.form("/rate", arms="small/base").status_code == 403
    for address in ("/review/phantom/queue", "/review/phantom/export", "/rate"):
        assert reviewer.form(address, number="5", arms="small/base", role="admin").status_code == 403, address
    sent = reviewer.say("/api/review/phantom/verdicts", verdict(0, reviewer="ada", role="admin"))
    assert sent.status_code == 200
    assert [v.reviewer for v in app.state.reviews.verdicts(shelf(app).key)] == ["vera"], "not whoever the body names"
    assert [a.role for a in people.all()] == ["admin", "reader", "reviewer"]


def test_a_closed_or_changed_account_is_out_at_once(app, people):
    browser = signed_in(app, "vera")
    people.change("vera", role="reader")
    assert browser.get("/runs").status_code == 401, "sessions end with a change of role"
    people.change("rita", active=False)
    assert Browser(app).sign_in("rita").status_code == 401


def test_lockout_counts_wrong_passwords_and_ends_by_itself(app, people):
    browser = Browser(app)
    for _ in range(MAX_FAILURES):
        assert browser.sign_in("vera", "wrong").status_code == 401
    assert browser.sign_in("vera").status_code == 401, "the right password does not open a locked account"
    later = people._now() + LOCKED_S + 1
    people._now = lambda: later
    assert browser.sign_in("vera").status_code == 303
    assert any(e.what == "sign-in refused" and e.about == "locked" for e in people.events())


def test_one_page_for_every_refusal_and_argon2_for_every_password(app, people):
    browser = Browser(app)
    texts = {
        browser.sign_in(name, word).text for name, word in (("vera", "wrong"), ("nobody", "wrong"), ("'; drop--", "x"))
    }
    assert len(texts) == 1
    with people.engine.connect() as connection:
        hashes = connection.exec_driver_sql("select password from users").scalars().all()
    assert len(set(hashes)) == 3 and all(found.startswith("$argon2id$") for found in hashes), (
        "salted: the same password thrice"
    )


def test_accounts_refuse_what_will_not_do(people):
    for name, role, password in (
        ("Vera", "reader", PASSWORD),
        ("x", "root", PASSWORD),
        ("y", "reader", "short"),
        ("vera", "reader", PASSWORD),
        ("local", "admin", PASSWORD),
    ):
        with pytest.raises(InputError):
            people.add(name, role, password)
    with pytest.raises(InputError, match="no account"):
        people.change("nobody", role="reader")


# ---------------------------------------------------------------- what is sent


ELSEWHERE = (
        "/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py", "/static//etc/passwd",
        "/picture/phantom/..%2f..%2fcard.json", "/picture/../../etc/passwd", "/thumb/phantom/" + "../" * 8 + "etc/passwd",
        "/maps/small/0/..%2f..%2frecipe.yaml/npz", "/maps/small/0/%2e%2e/npz", "/runs/..%2f..%2fetc/report", "/review/..%2fx",
        "/inspect/small/0?beside=..%2f..%2f/0", "/inspect/small/0?beside=small/²",
)  # fmt: skip


def test_paths_lead_nowhere(app):
    for address in ELSEWHERE:
        response = Browser(app).get(address)
        assert response.status_code in (400, 404, 422), address
        assert "root:" not in response.text and "import " not in response.text


def test_a_run_that_names_files_outside_its_folder_is_not_followed(run, tmp_path):
    app = app_over(run, tmp_path / "a.sqlite")
    items = app.state.library.runs["small"].items
    items[0]["maps"]["raw"]["npz"] = "../../scores/scores.json"
    items[0]["mask_png"] = "/etc/passwd"
    browser = Browser(app)
    assert [browser.get(a).status_code for a in ("/maps/small/0", "/maps/small/0/raw/npz", "/maps/small/0/mask")] == [
        404
    ] * 3


def test_bodies_have_a_limit_whether_they_say_their_length_or_not(app):
    browser = Browser(app)
    headers = {"x-csrf-token": browser.csrf, "content-type": "application/json"}
    assert (
        browser.post("/api/review/phantom/verdicts", content=b"x" * (MAX_BODY + 1), headers=headers).status_code == 413
    )
    pieces = (b"x" * 65536 for _ in range(20))
    assert browser.post("/api/review/phantom/verdicts", content=pieces, headers=headers).status_code == 413
    assert (
        browser.post(
            "/api/review/phantom/verdicts", content=b"{", headers=headers | {"content-length": "-1"}
        ).status_code
        == 400
    )


BODIES = (
        {}, [], "x", {"place": 0}, verdict(-1), verdict(2**40), verdict(0, "hang"), verdict(0, "edit"), verdict(0, "reject"),
        verdict(0, "reject", reason="because"), verdict(0, id="x"), verdict(0, comment="x" * 5000), verdict(0, seconds=-1),
        verdict(10**6), verdict(0, seconds="NaN"), {**verdict(0), "place": None}, {**verdict(0), "place": 1.5},
)  # fmt: skip


def test_malformed_verdicts_are_refused_with_a_reason(app):
    for body in BODIES:
        response = Browser(app).say("/api/review/phantom/verdicts", body)
        assert response.status_code in (400, 404, 422) and response.json()["detail"], body
    assert not app.state.reviews.verdicts(shelf(app).key)


def png_of(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def good_png() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (40, 30), 90).save(buffer, "PNG")
    return buffer.getvalue()


UPLOADS = {
    "nothing": b"", "text": b"not a picture", "html": b"<html><script>alert(1)</script>", "cut": good_png()[:-30],
    "bomb": png_of(60_000, 60_000), "just too large": png_of(MAX_PIXELS // 1000 + 1, 1000), "svg": b"<svg onload='alert(1)'/>",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "dicom of nothing": b"\0" * 128 + b"DICM",
    "dicom of noise": b"\0" * 128 + b"DICM" + bytes(range(256)) * 40,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_uploads_that_are_no_pictures_are_refused_before_they_cost_anything(app):
    browser = Browser(app)
    for kind, data in UPLOADS.items():
        files = {"picture": ("../../etc/passwd\r\nx: y", data, "image/png")}
        response = browser.post("/ask", data={"csrf": browser.csrf, "question": "?"}, files=files)
        assert response.status_code in (400, 422), (kind, response.text)
    assert app.state.asker._model is None, "no model was loaded for it"


def test_a_deflated_dicom_file_that_unpacks_without_end_is_refused(app, monkeypatch):
    scan = pydicom.dcmread(Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm")
    scan.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    scan.Rows = scan.Columns = 1024
    scan.PixelData = bytes(2 << 20)
    scan.save_as(buffer := io.BytesIO())
    assert len(buffer.getvalue()) < 20_000 and read_upload(buffer.getvalue()).size == (1024, 1024)
    monkeypatch.setattr("radvqa.dicom.MAX_INFLATED", 1 << 20)
    monkeypatch.setattr(pydicom, "dcmread", lambda *args, **more: pytest.fail("it was unpacked"))
    browser = Browser(app)
    files = {"picture": ("x.dcm", buffer.getvalue(), "application/dicom")}
    response = browser.post("/ask", data={"csrf": browser.csrf, "question": "?"}, files=files)
    assert response.status_code == 400 and "unpacks to more than 1 MiB" in response.text


def test_json_nested_without_end_is_refused(app):
    browser = Browser(app)
    headers = {"x-csrf-token": browser.csrf, "content-type": "application/json"}
    for body in (b"[" * 300_000, b'{"a":' * 100_000, b"\xff\xfe", b"null", b"1e999", b'{"id": NaN}'):
        response = browser.post("/api/review/phantom/verdicts", content=body, headers=headers)
        assert response.status_code in (400, 422), body[:9]


def test_an_upload_needs_its_token_and_a_question(app):
    browser = Browser(app)
    files = {"picture": ("a.png", good_png(), "image/png")}
    assert browser.post("/ask", data={"csrf": "no", "question": "?"}, files=files).status_code == 403
    assert browser.post("/ask", data={"csrf": browser.csrf, "question": "  "}, files=files).status_code == 400
    assert (
        browser.post("/ask", data={"csrf": browser.csrf, "question": "?", "window": "../x"}, files=files).status_code
        == 400
    )


def test_large_pictures_are_kept_small():
    buffer = io.BytesIO()
    Image.new("L", (5000, 3000)).save(buffer, "PNG")
    assert max(read_upload(buffer.getvalue()).size) == 2048


# ---------------------------------------------------------------- what is written down


def test_a_failure_of_ours_tells_neither_browser_nor_log_what_was_asked(app, monkeypatch, caplog):
    secret = "Jane Doe born 1950"

    def broken(*args, **more):
        raise RuntimeError(secret)

    monkeypatch.setattr(app.state.reviews, "next", broken)
    with caplog.at_level(logging.DEBUG):
        response = Browser(app).get("/api/review/phantom/next")
    assert response.status_code == 500 and secret not in response.text and secret not in caplog.text
    assert "RuntimeError" in caplog.text and "/api/review/{shelf}/next" in caplog.text
    assert "default-src 'none'" in response.headers["content-security-policy"]


def test_no_id_of_a_sample_or_subject_stands_in_an_address_or_in_what_is_sent(app):
    browser = Browser(app)
    item = browser.get("/api/review/phantom/next").json()
    ids = {row["id"] for row in shelf(app).table.iter_rows(named=True)}
    assert not ids & {str(value) for value in item.values()} and "id" not in item and "subject" not in item
    assert all(route.path.count("{") == 0 or "id}" not in route.path for route in every_route(app))
