"""`python -m paravane`: the command line."""

import sys

from paravane.tools.cli import main

sys.exit(main())
