"""A name stands once in its directory, whoever made what is behind it."""

import json
import os

from alyxfs.control.client import send_command
from asking import Asking
from mounted import mounted


def test_a_new_file_whose_name_is_made_elsewhere_is_listed_once(changing, home):
    asking = Asking(changing.url)
    with mounted(changing.url, home, "--rw") as drive:
        path = drive / "tags" / "made_twice.json"
        with path.open("w") as file:
            file.write('{"descri')  # not whole, so nothing is sent
            file.flush()
            asking.send("POST", "/tags", {"name": "made_twice"})
            send_command(control_socket(drive), "refresh", path="tags")
            assert os.listdir(drive / "tags").count("made_twice.json") == 1
            file.truncate(0)


def control_socket(drive):
    return json.loads((drive / ".alyxfs/status.json").read_bytes())["control_socket"]
