"""The prepared run of a GPU, rehearsed on the processor from end to end, so that its first minute there is not its first."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import causalcf as ccf
from causalcf.costs import gpu
from causalcf.costs.device import Job
from causalcf.costs.gpu import STEPS, Step, main, perform
