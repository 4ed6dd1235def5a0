"""Pixels become 0 or 1: above a threshold, or sampled from a named stream."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from elbo.determinism import stream
from elbo.negative_elbo import Images
from sources import own
from stages import binarize, download
from stages.binarize import sampled
from tests.support.repository import ROOT
from workflow.core import dataset
from workflow.core.dataset import Dataset
from workflow.core.errors import UserError
from workflow.core.params import set_params

LEVELS = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)
