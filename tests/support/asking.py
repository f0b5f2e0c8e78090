"""The demo's answers, asked directly: what the drive must agree with."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request

from alyxfs import file_names


class Asking:
    """A plain client of the API."""

    def __init__(self, url: str, user: str = "demo", password: str = "demo") -> None:
        self.url = url
        body = json.dumps({"username": user, "password": password}).encode()
        self.token = self._send("POST", "/auth-token", body, {})["token"]

    def get(self, path: str):
        """The parsed answer; raises HTTPError where it is an error."""
        return self._send("GET", path, None, {"Authorization": f"Token {self.token}"})

    def send(self, method: str, path: str, document=None):
        """Write something behind the drive's back."""
        body = None if document is None else json.dumps(document).encode()
        return self._send(method, path, body, {"Authorization": f"Token {self.token}"})

    def rows(self, path: str) -> list[dict]:
        """All rows of a list."""
        rows: list[dict] = []
        while True:
            page = self.get(f"{path}{'&' if '?' in path else '?'}limit=1000&offset={len(rows)}")
            rows += page["results"]
            if len(rows) >= page["count"] or not page["results"]:
                return rows

    def details(self, endpoint: str, lookup: str) -> dict[str, dict]:
        """Every record's detail by its look-up; those whose detail is an error are left out."""
        found = {}
        for row in self.rows(f"/{endpoint}"):
            key = str(row[lookup]) if lookup in row else row["url"].rsplit("/", 1)[-1]
            try:
                found[key] = self.get(f"/{endpoint}/{urllib.parse.quote(key, safe='')}")
            except urllib.error.HTTPError as error:
                error.close()
        return found

    def serves(self, address: str) -> bool:
        """Whether the file server has this file."""
        request = urllib.request.Request(quoted(address), method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=30):
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return False

    @staticmethod
    def bytes_of(address: str) -> bytes:
        """A whole data file."""
        with urllib.request.urlopen(quoted(address), timeout=60) as answer:
            return answer.read()

    @staticmethod
    def place(session: dict, dataset: dict) -> str:
        """Where a dataset stands in the drive."""
        parts = ["data", session["lab"], "Subjects", session["subject"], session["start_time"][:10]]
        parts += [f"{session['number']:03d}", *dataset["collection"].split("/")]
        if dataset["revision"]:
            parts.append(f"#{dataset['revision']}#")
        return "/".join(file_names.encode(part) for part in [*parts, dataset["name"]] if part)

    def _send(self, method, path, body, headers):
        headers = {"Accept": "application/json", "Content-Type": "application/json", **headers}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None


def quoted(address: str) -> str:
    """An address as it goes over the wire: the server gives it with # and spaces raw."""
    scheme, _, rest = address.partition("://")
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}/{urllib.parse.quote(path)}"


def shown(document) -> bytes:
    """A record as the drive must show it."""
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
