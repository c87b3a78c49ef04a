"""Configuration: text → shape → frozen `Config`, then every semantic problem in one report.

Nothing is built here, and nothing is changed while checking. Adapters never see these types: `wiring` takes
them apart.
"""

from authz.config.load import Config, Loaded, load_config
from authz.config.shape import json_schemas

__all__ = ["Config", "Loaded", "json_schemas", "load_config"]
