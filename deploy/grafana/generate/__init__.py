"""The dashboards and Prometheus's rules as code; `make dashboards` writes them as files."""
