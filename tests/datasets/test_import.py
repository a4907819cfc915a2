import subprocess
import sys

import pytest

from causalcf import datasets


def test_every_name_is_there():
    for name in datasets.__all__:
        assert getattr(datasets, name) is not None
    assert set(dir(datasets)) == set(datasets.__all__)


def test_unknown_names_list_the_known():
    with pytest.raises(AttributeError, match=r"has no 'ImageNet'\. It has"):
        datasets.ImageNet  # noqa: B018


def test_importing_the_package_does_not_import_the_heavy_libraries():
    code = "import sys, causalcf.datasets; print([m for m in ('skimage', 'sklearn', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
