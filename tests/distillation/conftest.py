"""Makes `small` importable, as the helpers of all tests are."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
