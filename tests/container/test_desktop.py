"""The desktop, from the line in the README to walking through a model, in a browser."""

import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from ssl import CERT_NONE, create_default_context

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from ..gui.extension import SURFACES, WALKING
from ..gui.test_navigate import EYE
from .compose import OWNER, docker
from .streamed import Page, Spy, Streamed

PASSWORD = "p$a\"s'x"
ADDRESS = "https://localhost:13001/"
NAME = "weightwalk-test-blender-1"
TAB = "view('VIEW_3D', 'UI')['region'].active_panel_category"


@pytest.fixture
def checkout(checkout):
    """Return a checkout whose desktop is removed at the end, with what it keeps."""
    one = checkout.with_variables(PASSWORD=PASSWORD, HTTP_PORT="13000", HTTPS_PORT="13001")
    yield one
    for file in ("base", "blender-demos"):
        one.compose(file, "down", "--volumes", "--timeout", "2")


def until_healthy():
    """Wait until the container says that it is healthy."""
    for _ in range(240):
        state = docker("inspect", "--format", "{{.State.Health.Status}}", NAME)
        if state == "healthy":
            return
        time.sleep(0.5)
    raise AssertionError(docker("logs", NAME)[-3000:])


def until_ill(sentence):
    """Wait until the health check fails, and says why."""
    check = ["docker", "exec", NAME, "/opt/weightwalk/image/healthy"]
    for _ in range(40):
        done = subprocess.run(check, capture_output=True, text=True, check=False)
        if done.returncode:
            break
        time.sleep(0.5)
    assert (done.returncode, sentence in done.stdout) == (1, True), done.stdout


def status_without_password():
    """Return the status with which the page is answered."""
    trusting = create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, CERT_NONE
    request = urllib.request.Request(ADDRESS)
    try:
        return urllib.request.urlopen(request, context=trusting, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "set PASSWORD"),
        ({"WEIGHTWALK_NO_PASSWORD": "no"}, "set PASSWORD"),
        # These the base would not take for what they are.
        ({"PASSWORD": "two words"}, "PASSWORD: it may not"),
        ({"FILE__PASSWORD": "/run/secrets/none"}, "/run/secrets/none cannot be read"),
    ],
)
def test_without_a_password_it_does_not_start(built, variables, sentence):
    environment = [part for item in variables.items() for part in ("--env", "=".join(item))]
    run = ["docker", "run", "--rm", *environment, "weightwalk:test", "true"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (done.returncode, sentence in done.stderr) == (2, True), done.stderr


def test_no_password_is_none_where_one_says_so(checkout):
    said = first_steps(
        checkout.with_variables(PASSWORD="", WEIGHTWALK_NO_PASSWORD="yes"), "printenv"
    )
    assert "PASSWORD=" not in said.replace("WEIGHTWALK_NO_PASSWORD=", "")


def first_steps(checkout, *command):
    """Start the container for one command of root's instead of the desktop; return what it said."""
    done = checkout.compose("base", "run", "--rm", "-T", "blender", *(command or ("true",)))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def spy():
    """Return what answers from inside Blender."""
    # A socket's path has to be short.
    folder = Path(tempfile.mkdtemp(prefix="spy-"))
    folder.chmod(0o777)
    spy = Spy(folder / "spy")
    yield spy
    spy.listener.close()
    shutil.rmtree(folder)


def brightness(path):
    """Return a picture's pixels in shades of grey."""
    return np.asarray(Image.open(path).convert("L"), float)


def test_from_an_empty_volume_to_walking_through_a_model(checkout, spy, tmp_path):
    overlay = Path(__file__).with_name("spied.yaml")
    spied = checkout.with_variables(SPY=str(spy.folder))
    shutil.copy(overlay, checkout.folder / "compose" / "spied.yaml")
    done = spied.compose("base spied", "up", "--detach", "--no-build")
    assert done.returncode == 0, done.stderr
    until_healthy()
    assert status_without_password() == 401
    with Page(ADDRESS, "abc", "wrong") as refused:
        assert refused.status == 401

    with (
        Page(ADDRESS, "abc", PASSWORD) as page,
        Streamed(spy, page, tmp_path, lambda: docker("logs", NAME)) as window,
    ):
        assert page.status == 200
        # The desktop takes the size of the page.
        window.wait_for("bpy.context.window_manager.windows[0].width >= 1590")
        window.settle()
        assert window.ask(TAB) == "Weights"
        assert not window.ask("bpy.context.preferences.inputs.use_mouse_continuous")
        window.screenshot("open")
        assert f"weightwalk: ready: {ADDRESS.rstrip('/')}, user abc" in window.log()

        # A model that comes while the desktop is open is there at once.
        rng = np.random.default_rng(5)
        new = {f"layers.{i}.up_proj.weight": rng.standard_normal((64, 64)) for i in range(3)}
        save_file(new, checkout.models / "new.safetensors")
        (checkout.models / "new.safetensors").chmod(0o644)
        window.press("weightwalk.load_model")
        window.wait_for("'FILE_BROWSER' in shown()")
        folder = "view('FILE_BROWSER')['area'].spaces.active.params.directory.decode()"
        assert window.wait_for(folder) == "/models/"
        window.type_path(Path("/models/new.safetensors"))
        window.wait_for(f"len({SURFACES}) == 3", seconds=60)

        window.press("weightwalk.load_model")
        window.type_path(Path("/models/all-MiniLM-L6-v2/model.safetensors"))
        window.wait_for(f"len({SURFACES}) > 100", seconds=120)
        window.screenshot("built")

        window.press("weightwalk.walk")
        window.wait_for(WALKING)
        window.settle()
        before, eye = window.screenshot("walking"), window.ask(EYE)
        with window.held("w"):
            time.sleep(1.5)
        window.key("Return")
        window.settle()
        after = window.screenshot("walked")
        assert window.ask(EYE)[1] > eye[1] + 5
        assert np.abs(brightness(after) - brightness(before)).mean() > 2
        assert not [text for kind, text in window.reports() if kind == "ERROR"]
        assert "Traceback" not in window.log()
    docker("exec", NAME, "pkill", "-x", "blender")
    until_ill("Blender is closed")
    docker("exec", NAME, "pkill", "-f", "selkies")
    until_ill("the page answers with 502")


def test_an_older_config_becomes_a_current_one(checkout):
    profile = "/config/.config/blender/$(cat /opt/weightwalk/blender-version)"
    extension = f"{profile}/extensions/user_default/weightwalk"
    assert "the extension is installed" in first_steps(checkout)
    said = first_steps(checkout, "cat", "/config/.config/labwc/autostart")
    assert "weightwalk: " not in said.replace("50-weightwalk: ", ""), (
        "nothing is left to do at the second start"
    )
    first_steps(
        checkout,
        "sh",
        "-ec",
        # As LinuxServer's image left it, with a line of the person's own.
        "printf 'foot &\nDRI_PRIME=1 blender --python-expr \"pass # blender \"\n'"
        " > /config/.config/labwc/autostart;"
        f"echo older > {profile}/weightwalk-installed;"
        f"sed -i 's/^version = .*/version = \"0.0.1\"/' {extension}/blender_manifest.toml;"
        f"rm {extension}/pipeline.py",
    )
    said = first_steps(
        checkout,
        "sh",
        "-ec",
        f"grep ^version {extension}/blender_manifest.toml; ls {extension}/pipeline.py;"
        "cat /config/.config/labwc/autostart",
    )
    assert "the extension is installed" in said
    assert 'version = "0.0.1"' not in said
    start = "DRI_PRIME=1 blender --python /opt/weightwalk/image/start.py --python-expr"
    assert said.splitlines()[-2:] == ["foot &", f'{start} "pass # blender "']


def test_folders_that_cannot_be_used_are_named(checkout):
    checkout.results.mkdir(mode=0o700)
    (checkout.results / "theirs").touch()
    hidden = checkout.folder / "hidden"
    hidden.mkdir(mode=0o700)
    said = first_steps(checkout.with_variables(MODELS=str(hidden)))
    assert "results cannot be written: the folder mounted at /config/weightwalk" in said
    assert f"belongs to user 0:0, and PUID:PGID is {OWNER}:{OWNER}" in said
    assert "models cannot be read: the folder mounted at /models belongs to user 0:0" in said
    hidden.chmod(0o755)
    assert "the folder mounted at /models is empty" in first_steps(
        checkout.with_variables(MODELS=str(hidden))
    )
    hidden.rmdir()


def test_results_that_docker_had_to_make_are_the_persons(checkout):
    first_steps(checkout, "s6-setuidgid", "abc", "touch", "/config/weightwalk/mine")
    stat = (checkout.results / "mine").stat()
    assert (stat.st_uid, stat.st_gid) == (OWNER, OWNER)
    assert checkout.results.stat().st_uid == OWNER


def test_demonstrations_are_there_also_in_an_old_volume(checkout):
    checkout = checkout.with_variables(WEIGHTWALK_IMAGE="weightwalk:test-demos")
    done = checkout.compose("blender-demos", "build", "-q", seconds=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert checkout.compose("blender-demos", "up", "--detach").returncode == 0
    until_healthy()
    place = "/config/weightwalk-visualizations"
    listed = docker("exec", NAME, "find", f"{place}/", "-name", "*.blend").splitlines()
    assert len(listed) == 2
    opened = "import bpy; print(f'<{sum(\"plan\" in o for o in bpy.data.objects)} surfaces>')"
    blender = ["blender", "--background", listed[0], "--python-expr", opened]
    said = docker("exec", "--user", "abc", NAME, *blender)
    assert int(re.search(r"<(\d+) surfaces>", said)[1]) > 0
    # Somebody's own folder of that name stays; a link to an older image's does not.
    checkout.compose("blender-demos", "down", "--timeout", "2")
    run = ["run", "--rm", "-T", "blender"]
    swap = f"rm {place}; mkdir {place}; touch {place}/mine"
    checkout.compose("blender-demos", *run, "sh", "-c", swap)
    said = checkout.compose("blender-demos", *run, "ls", place).stdout
    assert "is something else and stays as it is" in said
    assert said.splitlines()[-1] == "mine"
