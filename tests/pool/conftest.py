"""The helpers of these tests lie beside them; the example of held values is tested too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[2] / "examples"))
sys.path.append(str(Path(__file__).parents[2]))  # for fresh interpreters, behind the installed package
