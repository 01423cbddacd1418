"""`python -m deploy.grafana.generate [URL]`: write every generated file.

The URL is where browsers reach the service, for links to its page.
"""

import sys

from deploy.grafana.generate.files import SERVICE_URL, files

for path, text in files(*sys.argv[1:2] or [SERVICE_URL]).items():
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
