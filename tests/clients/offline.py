"""LiteLLM, with the price list that it ships: left to itself it looks for a newer one on the network at every start."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm  # noqa: E402  (it reads the variable on import)

litellm.suppress_debug_info = True
