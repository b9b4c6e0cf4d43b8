from tests.app.conftest import ray_running, tiny_run

__all__ = ["ray_running", "tiny_run"]
