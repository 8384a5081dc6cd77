"""Save and load an adaptive model: safetensors weights and one readable JSON file, no pickle."""

from .files import write_atomically
from .format import DESCRIPTION, FORMAT_VERSION, Architecture, Description
from .hub import push_to_hub
from .original import load_original, original_state_dict
from .reading import load, load_adapter, read_description, verify
from .state import check_keys
from .strict_json import read_json
from .weights import read_weights
from .writing import save, save_adapter

__all__ = [
    "DESCRIPTION",
    "FORMAT_VERSION",
    "Architecture",
    "Description",
    "check_keys",
    "load",
    "load_adapter",
    "load_original",
    "original_state_dict",
    "push_to_hub",
    "read_description",
    "read_json",
    "read_weights",
    "save",
    "save_adapter",
    "verify",
    "write_atomically",
]
